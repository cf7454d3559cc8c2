"""A Flask app in which a team changes its own seats."""

from flask import Flask, request, session
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from corkage import Billing, BillingError, Config, Identity

app = Flask(__name__)
app.secret_key = "a secret of this app"


def signed_in(environ):
    user = app.session_interface.open_session(app, app.request_class(environ)).get("user")
    return Identity(user) if user else None


billing = Billing(Config.from_env(), authenticate=signed_in)
app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/billing": billing.wsgi})


@app.errorhandler(BillingError)
def refuse(error):
    return error.to_dict(), error.http_status


@app.post("/sign-in")
def sign_in():
    session["user"] = request.form["name"]
    return ""


@app.get("/team")
def team():
    access = billing.admit(session.get("user"), "team")
    return {"seats": access.quantity, "gb": access.limits.get("gb", 0)}


@app.get("/price-of-seats")
def price_of_seats():
    return billing.preview(session["user"], quantity=int(request.args["seats"]))._asdict()


@app.post("/seats")
def seats():
    access = billing.change(session["user"], quantity=int(request.form["seats"]), when=request.form["when"])
    return {"seats": access.quantity}


@app.post("/quit")
def end():
    return {"reason": billing.cancel(session["user"], feedback="unused").reason}
