"""GET /access: may the signed-in user in, and why?"""

import hashlib
import json

import bottle

from ..access import for_member
from ..cookies import BLANKS
from ..service import Service
from .responses import json_response


def show_access(service: Service) -> bottle.HTTPResponse:
    """Return the signed-in user's access as JSON, or 304 when the caller has the same already.

    Who may not buy for the payer sees no price, and not that the plan was canceled.

    Errors  NotConfigured, NotSignedIn, InvalidToken, DatabaseUnavailable
    """
    identity = service.signed_in(bottle.request.environ)
    access = service.access(identity.payer_id)
    body = json.dumps((access if identity.is_buyer else for_member(access))._asdict())
    tag = f'"{hashlib.sha256(body.encode()).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache", "Vary": "Authorization, Cookie"}
    known = bottle.request.environ.get("HTTP_IF_NONE_MATCH", "").split(",")
    if tag in (each.strip(BLANKS).removeprefix("W/") for each in known):
        return bottle.HTTPResponse(status=304, headers=headers)
    return json_response(body, headers=headers)
