"""A Bottle app that has a config, models, errors and handlers of its own, as many do."""

import bottle

import config
from corkage import Billing, Config, Identity
from handlers import export, sign_in
from models import users

app = bottle.Bottle()


def signed_in(environ):
    name = users.named(bottle.BaseRequest(environ).get_cookie("session"))
    return Identity(name) if name else None


billing = Billing(Config.from_env(), authenticate=signed_in)
app.install(billing)
app.post("/sign-in", callback=sign_in.sign_in)
app.get("/export", callback=billing.requires(config.PLAN)(export.export))


@app.get("/<path:path>")
def page(path):
    return f"the host's own {path}" if config.HOST else None
