"""A Bottle app in which a team changes its own seats."""

import bottle

from corkage import Access, Billing, Config, Identity

SECRET = "a secret of this app"
app = bottle.Bottle()


def signed_in(environ):
    user = bottle.BaseRequest(environ).get_cookie("user", secret=SECRET)
    return Identity(user) if user else None


billing = Billing(Config.from_env(), authenticate=signed_in)
app.install(billing)


@app.post("/sign-in")
def sign_in():
    bottle.response.set_cookie("user", bottle.request.forms.getunicode("name"), secret=SECRET, httponly=True)


@app.get("/team")
@billing.requires("team")
def team(access: Access):
    return {"seats": access.quantity, "gb": access.limits.get("gb", 0)}


@app.get("/price-of-seats")
def price_of_seats(access: Access):
    return billing.preview(access.user_id, quantity=int(bottle.request.query["seats"]))._asdict()


@app.post("/seats")
def seats(access: Access):
    form = bottle.request.forms
    return {"seats": billing.change(access.user_id, quantity=int(form["seats"]), when=form["when"]).quantity}


@app.post("/quit")
def end(access: Access):
    return {"reason": billing.cancel(access.user_id, feedback="unused").reason}
