"""Who sent a request: a browser by itself, a script of the page (Turbo, htmx, plain fetch), or another program."""

from enum import Enum
from html import escape
from typing import Any

import bottle

STREAM = "text/vnd.turbo-stream.html"


class Sender(Enum):
    """What an answer must be, so that the visitor is led on, or reads why not."""

    BROWSER = "it follows a redirect, and shows a page"
    TURBO = "it follows a redirect to this origin only, and renders streams"
    HTMX = "it goes where HX-Redirect says, and shows nothing of an error"
    PROGRAM = "it reads JSON"


def sender_of(environ: dict[str, Any]) -> Sender:
    """Return who sent the request. Only a POST is of Turbo or htmx: what they GET is a page or a part of one.

    A service worker that passes a browser's form on hides its Sec-Fetch-Dest, and keeps its Sec-Fetch-Mode.
    """
    accept, is_post = environ.get("HTTP_ACCEPT", ""), environ.get("REQUEST_METHOD") == "POST"
    if is_post and "HTTP_HX_REQUEST" in environ:
        return Sender.HTMX
    if is_post and STREAM in accept:
        return Sender.TURBO
    is_fetch = environ.get("HTTP_SEC_FETCH_DEST") == "empty" and environ.get("HTTP_SEC_FETCH_MODE") != "navigate"
    return Sender.PROGRAM if (is_post and is_fetch) or "text/html" not in accept else Sender.BROWSER


def stream_that_leads_to(url: str) -> bottle.HTTPResponse:
    """Return what makes Turbo leave the page for any address.

    A redirect to another origin fails in fetch, and a script in the stream by the page's Content-Security-Policy. Turbo
    removes what is temporary before it stores the page: restored, the page would lead away again.
    """
    leading = f'<meta http-equiv="refresh" content="0; url={escape(url)}" data-turbo-temporary>'
    stream = f'<turbo-stream action="append" targets="head"><template>{leading}</template></turbo-stream>'
    headers = {
        "Content-Type": f"{STREAM}; charset=utf-8",
        "Cache-Control": "no-store",
    }
    return bottle.HTTPResponse(stream, 200, headers)
