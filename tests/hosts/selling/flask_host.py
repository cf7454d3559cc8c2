"""A product on Flask that sells and counts by Corkage. The header X-User stands for a sign-in."""

from flask import Flask, request
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from corkage import Billing, Config, Identity

app = Flask(__name__)


def signed_in(environ):
    user = environ.get("HTTP_X_USER")
    return Identity(user) if user else None


billing = Billing(Config.from_env(), authenticate=signed_in)
app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/billing": billing.wsgi})


@app.post("/buy")
def buy():
    wanted = request.json
    identity = signed_in(request.environ)
    here = f"{request.host_url}billing"
    return {"url": billing.checkout_url(identity, wanted["plan"], quantity=wanted.get("quantity"), billing_url=here)}


@app.get("/me")
def me():
    return billing.access(request.headers["X-User"])._asdict()


@app.post("/use")
def use():
    wanted = request.json
    return billing.use(request.headers["X-User"], wanted["name"], wanted["amount"], wanted.get("key"))._asdict()
