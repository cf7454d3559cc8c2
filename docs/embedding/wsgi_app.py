"""A plain WSGI app with billing. Run it: waitress-serve --port 8000 wsgi_app:app"""

import hmac
import os
from http.cookies import SimpleCookie
from urllib.parse import parse_qs

from corkage import Billing, BillingError, Config, Identity

SECRET = os.environ["SECRET_KEY"].encode()  # your app's own


def seal(user):
    return hmac.digest(SECRET, user.encode(), "sha256").hex() + user


def signed_in(environ):
    sealed = SimpleCookie(environ.get("HTTP_COOKIE", "")).get("user")
    user = sealed.value[64:] if sealed else ""
    return Identity(user) if user and hmac.compare_digest(seal(user).encode(), sealed.value.encode()) else None


def product(environ, start_response):
    if environ["PATH_INFO"] == "/sign-in":  # stands for yours
        form = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])).decode()
        start_response("204 No Content", [("Set-Cookie", f"user={seal(parse_qs(form)['name'][0])}; HttpOnly")])
        return []
    user = signed_in(environ)
    try:
        access = billing.admit(user and user.user_id, feature="exports")
        status, text = "200 OK", f"{access.user_id}'s notes"
    except BillingError as error:  # 401 for nobody, 402 for who has not paid
        status, text = f"{error.http_status} {error.code}", error.sentence
    start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
    return [text.encode()]


billing = Billing(Config.from_env(), authenticate=signed_in)
app = billing.middleware(product)  # at /billing
