"""A Bottle app with billing. Run it: waitress-serve --port 8000 bottle_app:app"""

import os

import bottle

from corkage import Access, Billing, Config, Identity

SECRET = os.environ["SECRET_KEY"]  # your app's own
app = bottle.Bottle()


def signed_in(environ):
    user = bottle.BaseRequest(environ).get_cookie("user", secret=SECRET)
    return Identity(user) if user else None


billing = Billing(Config.from_env(), authenticate=signed_in)
app.install(billing)  # mounts the routes at /billing


@app.post("/sign-in")  # stands for yours
def sign_in():
    bottle.response.set_cookie("user", bottle.request.forms.getunicode("name"), secret=SECRET, httponly=True)


@app.get("/export")
@billing.requires(feature="exports")
def export(access: Access):
    return f"{access.user_id}'s notes"
