"""A Flask app with billing. Run it: waitress-serve --port 8000 flask_app:app"""

import os

from flask import Flask, request, session
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from corkage import Billing, BillingError, Config, Identity

app = Flask(__name__)
app.secret_key = os.environ["SECRET_KEY"]  # your app's own


def signed_in(environ):
    user = app.session_interface.open_session(app, app.request_class(environ)).get("user")
    return Identity(user) if user else None


billing = Billing(Config.from_env(), authenticate=signed_in)
app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/billing": billing.wsgi})


@app.errorhandler(BillingError)  # 401 for nobody, 402 for who has not paid
def refuse(error):
    return error.to_dict(), error.http_status


@app.post("/sign-in")  # stands for yours
def sign_in():
    session["user"] = request.form["name"]
    return ""


@app.get("/export")
def export():
    access = billing.admit(session.get("user"), feature="exports")
    return f"{access.user_id}'s notes"
