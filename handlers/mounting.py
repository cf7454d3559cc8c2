"""The path of our routes among a host's own, and the WSGI middleware that puts them there."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ..config import Config
from ..errors import ConfigError

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment


STANDARD_PATH = "/billing"


def mount_path(config: Config) -> str:
    """Return the path that a host mounts the routes at: BILLING_URL's, or /billing.

    Errors  ConfigError when BILLING_URL has no path: the routes would lie across the host's own
    """
    if config.billing_url is None:
        return STANDARD_PATH
    path = urlsplit(config.billing_url).path
    if not path:
        wanted = f"wanted an address with a path, such as {config.billing_url}{STANDARD_PATH}"
        raise ConfigError([f"BILLING_URL: {wanted}, since the routes are mounted there in the host's app"])
    return path


def middleware(routes: "Callable[[], WSGIApplication]", app: "WSGIApplication", path: str) -> "WSGIApplication":
    """Return an app that answers below the path by our routes, and hands everything else on unchanged.

    Shape   routes: returns them; called at the first request, since making them loads Bottle
    """

    def dispatch(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        asked = environ.get("PATH_INFO", "")
        if asked != path and not asked.startswith(f"{path}/"):
            return app(environ, start_response)
        here = environ.get("SCRIPT_NAME", "") + path
        inner = {**environ, "SCRIPT_NAME": here, "PATH_INFO": asked.removeprefix(path)}
        answer: Iterable[bytes] = routes()(inner, start_response)
        return answer

    return dispatch
