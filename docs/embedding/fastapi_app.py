"""A FastAPI app with billing. Run it: uvicorn --port 8000 fastapi_app:app"""

import os
from typing import Annotated

from a2wsgi import WSGIMiddleware
from fastapi import Body, Depends, FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.middleware.sessions import SessionMiddleware

from corkage import Access, Billing, BillingError, Config, Identity


def signed_in(environ):
    user = environ["asgi.scope"]["session"].get("user")
    return Identity(user) if user else None


billing = Billing(Config.from_env(), authenticate=signed_in)
app = FastAPI()
app.add_middleware(SessionMiddleware, secret_key=os.environ["SECRET_KEY"])  # your app's own
app.mount("/billing", WSGIMiddleware(billing.wsgi))


@app.exception_handler(BillingError)  # 401 for nobody, 402 for who has not paid
def refuse(_: Request, error: BillingError):
    return JSONResponse(error.to_dict(), error.http_status)


def exporter(request: Request) -> Access:
    return billing.admit(request.session.get("user"), feature="exports")


@app.post("/sign-in")  # stands for yours
def sign_in(request: Request, name: Annotated[str, Body(embed=True)]):
    request.session["user"] = name


@app.get("/export")
def export(access: Annotated[Access, Depends(exporter)]):
    return f"{access.user_id}'s notes"
