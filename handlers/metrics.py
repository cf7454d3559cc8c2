"""GET /metrics: the figures of this process and of the database, for Prometheus."""

import hmac
import time

import bottle

from .. import storage
from ..errors import ConfigError, DatabaseUnavailable, InvalidToken, NotSignedIn
from ..service import Service
from .health import health_of, standing_of

METRICS = "/metrics"
BEARER = "bearer "


def show_metrics(service: Service) -> bottle.HTTPResponse:
    """Answer with the figures, in the text format of Prometheus. Where the database cannot be read, with those of the
    process alone.

    Errors  NotSignedIn without a token; InvalidToken for another one than BILLING_METRICS_TOKEN
    """
    from ..health import metrics  # loads prometheus-client

    _check_token(bottle.request.environ.get("HTTP_AUTHORIZATION", ""), service.config.metrics_token)
    now = time.time()
    try:
        standing = standing_of(service, now)
        facts = service.kept_health.get(lambda: health_of(service, now))
    except DatabaseUnavailable as error:
        storage.note(error)
        standing, facts = None, {"problems": [str(error)], "warnings": []}
    except ConfigError as error:  # a table is gone, or a right
        standing, facts = None, {"problems": [*error.problems], "warnings": []}
    process = metrics.Process(
        service.watched.seen(),
        service.refusals.accepted,
        dict(service.refusals.refused),
        service.ignored,
        service.worker_idle_seconds(),
        service.requests.counted(),
    )
    text, kind = metrics.written(process, standing, facts["problems"], facts["warnings"])
    headers = {"Content-Type": kind, "Cache-Control": "no-store"}
    return bottle.HTTPResponse(text, 200, headers)


def _check_token(header: str, token: str) -> None:
    if not header.lower().startswith(BEARER):
        raise NotSignedIn("no Bearer token")
    shown = header[len(BEARER) :].encode("latin-1", "replace")  # WSGI's texts are bytes, and these may be anything
    if not hmac.compare_digest(shown, token.encode()):
        raise InvalidToken("another token than BILLING_METRICS_TOKEN")
