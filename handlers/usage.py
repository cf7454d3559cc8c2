"""POST /use and GET /usage: limits that are counted, for a product beside Corkage."""

import re

import bottle

from ..errors import InvalidBody, LimitReached
from ..service import Service
from .access import of_user, unless_known
from .origins import refuse_browsers
from .responses import json_response, read_form


def count_use(service: Service) -> bottle.HTTPResponse:
    """Count a use for the user in the token of the product's server, who is their own payer or has another.

    The body names the limit, and may have an amount and a key.

    Errors  CrossSite, NotConfigured, NotSignedIn, InvalidToken, BodyTooLarge, InvalidBody, UnknownLimit, KeyReused,
            LimitReached, DatabaseUnavailable
    """
    environ = bottle.request.environ
    refuse_browsers(environ)
    identity = service.named_by_server(environ)
    form = read_form()
    name, amount = form.get("name", ""), form.get("amount", "1")
    if not name or not re.fullmatch("[0-9]{1,10}", amount):
        raise InvalidBody("wanted the name of a limit and, if any, an amount, which is a whole number from 1")
    try:
        use = service.use(identity.payer_id, name, int(amount), form.get("key"))
    except ValueError as error:
        raise InvalidBody(str(error)) from error
    if not use.allowed:
        raise LimitReached(f"{identity.payer_id!r} has {use.left} of {name!r} left, and wanted {amount}", use._asdict())
    return json_response(use._asdict())


def show_usage(service: Service) -> bottle.HTTPResponse:
    """Return what the signed-in user has used of each limit that is counted, by its name; 304 as for the access.

    Errors  NotConfigured, NotSignedIn, InvalidToken, DatabaseUnavailable
    """
    identity = service.signed_in(bottle.request.environ)
    found = service.usage(identity.payer_id)
    usage = {name: each._asdict() for name, each in found.items()}
    return unless_known(*of_user({"user_id": identity.payer_id, "usage": usage}))
