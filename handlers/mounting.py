"""Where the routes stand in a host's own URL space, and a WSGI middleware that puts them there."""

from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ..config import Config
from ..errors import ConfigError

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from ..billing_app import Billing

STANDARD_PATH = "/billing"


def mount_path(config: Config) -> str:
    """Tell the path that a host mounts the routes at: BILLING_URL's, or /billing.

    Errors  ConfigError when BILLING_URL has no path: the routes would lie across the host's own
    """
    if config.billing_url is None:
        return STANDARD_PATH
    path = urlsplit(config.billing_url).path
    if not path:
        wanted = f"wanted an address with a path, such as {config.billing_url}{STANDARD_PATH}"
        raise ConfigError([f"BILLING_URL: {wanted}, since the routes are mounted there in the host's app"])
    return path


def middleware(billing: "Billing", app: "WSGIApplication", path: str) -> "WSGIApplication":
    """Answer what lies below the path, and hand everything else to the app as it came."""

    def dispatch(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        asked = environ.get("PATH_INFO", "")
        if asked != path and not asked.startswith(f"{path}/"):
            return app(environ, start_response)
        here = environ.get("SCRIPT_NAME", "") + path
        inner = {**environ, "SCRIPT_NAME": here, "PATH_INFO": asked.removeprefix(path)}
        answer: Iterable[bytes] = billing.wsgi(inner, start_response)
        return answer

    return dispatch
