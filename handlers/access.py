"""GET /access: may the signed-in user in, and why?"""

import hashlib
import json
from typing import Any

import bottle

from ..access import for_member
from ..cookies import BLANKS
from ..service import Service
from . import quick
from .responses import JSON_HEADERS, json_response


def show_access(service: Service) -> bottle.HTTPResponse:
    """Return the signed-in user's access as JSON, or 304 when the caller has the same already.

    Who may not buy for the payer sees no price, and not that the plan was canceled.

    Errors  NotConfigured, NotSignedIn, InvalidToken, DatabaseUnavailable
    """
    return unless_known(*_answer(service, bottle.request.environ))


def show_quickly(service: Service, environ: dict[str, Any]) -> quick.Answer | None:
    """Do the same where the caller has no earlier answer; see quick.py.

    Errors  as show_access()
    """
    if "HTTP_IF_NONE_MATCH" in environ:
        return None
    body, headers = _answer(service, environ)
    return quick.Answer(JSON_HEADERS | headers | {"Vary": f"{headers['Vary']}, Origin"}, body)


def _answer(service: Service, environ: dict[str, Any]) -> tuple[str, dict[str, str]]:
    identity = service.signed_in(environ)
    access = service.access(identity.payer_id)
    return of_user((access if identity.is_buyer else for_member(access))._asdict())


def of_user(facts: dict[str, Any]) -> tuple[str, dict[str, str]]:
    """Return the body of an answer about a user, and the headers by which the same is not sent again."""
    body = json.dumps(facts)
    tag = f'"{hashlib.sha256(body.encode()).hexdigest()[:32]}"'
    return body, {"ETag": tag, "Cache-Control": "private, no-cache", "Vary": "Authorization, Cookie"}


def unless_known(body: str, headers: dict[str, str]) -> bottle.HTTPResponse:
    """Return the answer, or 304 when the caller has the same already."""
    known = bottle.request.environ.get("HTTP_IF_NONE_MATCH", "").split(",")
    if headers["ETag"] in (each.strip(BLANKS).removeprefix("W/") for each in known):
        return bottle.HTTPResponse(status=304, headers=headers)
    return json_response(body, headers=headers)
