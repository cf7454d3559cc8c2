"""A product on Bottle that sells and counts by Corkage. The header X-User stands for a sign-in."""

import bottle

from corkage import Billing, Config, Identity

app = bottle.Bottle()


def signed_in(environ):
    user = environ.get("HTTP_X_USER")
    return Identity(user) if user else None


billing = Billing(Config.from_env(), authenticate=signed_in)
app.install(billing)


@app.post("/buy")
def buy():
    wanted = bottle.request.json
    identity = signed_in(bottle.request.environ)
    here = f"http://{bottle.request.get_header('Host')}/billing"
    return {"url": billing.checkout_url(identity, wanted["plan"], quantity=wanted.get("quantity"), billing_url=here)}


@app.get("/me")
def me():
    return billing.access(bottle.request.get_header("X-User"))._asdict()


@app.post("/use")
def use():
    wanted = bottle.request.json
    user = bottle.request.get_header("X-User")
    return billing.use(user, wanted["name"], wanted["amount"], wanted.get("key"))._asdict()
