"""The endpoint at BILLING_NOTIFY_URL: notices over HTTP, signed after the Standard Webhooks specification."""

import datetime
import json
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from email.utils import parsedate_to_datetime
from typing import Any

from ..cookies import BLANKS
from ..logs.facts import logger
from .delivery import LONGEST_RETRY_AFTER_SECONDS
from .notice import NotDelivered, Notice

TIMEOUT_SECONDS = (5, 15)  # to connect, and for the answer
DOWN = (429, 502, 503, 504)
GONE = 410
GONE_SECONDS = LONGEST_RETRY_AFTER_SECONDS

log = logger("corkage.notices")


class Endpoint:
    """The receiver behind an address.

    Shape   secrets: "whsec_" and base64; each signs, so that the receiver may change from one to the next
    Source  github.com/standard-webhooks/standard-webhooks, the specification, version 1.0.0
    """

    name = "url"
    ready_at = 0.0

    def __init__(self, url: str, secrets: tuple[str, ...]) -> None:
        self._url = url
        self._secrets = secrets

    def notify(self, notice: Notice) -> str:
        """Post it. 2xx accepts it; redirects are not followed; after 410 Gone everything waits for an hour.

        Errors  NotDelivered
        """
        import requests  # slow to load, and not needed without an address

        body = body_of(notice)
        headers = self._headers(notice.id, body, datetime.datetime.now(datetime.UTC))
        try:
            with self._post(body.encode(), headers) as answer:
                return _judged(answer)
        except requests.RequestException as error:
            raise NotDelivered(_reason_of(error), is_down=True) from None  # its own text may hold the address

    @contextmanager
    def _post(self, body: bytes, headers: dict[str, str]) -> Iterator[Any]:
        """Post the notice, and yield the answer without reading its body.

        The adapter sends it. A session would read the body of a redirect, which may never end.
        """
        import requests  # slow to load, and not needed until a notice is sent

        from ..pacing.deadline import DeadlineAdapter  # loads requests, which is slow

        with requests.Session() as session, closing(DeadlineAdapter(TIMEOUT_SECONDS[1])) as adapter:
            posted = session.prepare_request(requests.Request("POST", self._url, headers, data=body, auth=_as_it_is))
            environment: Any = session.merge_environment_settings(posted.url, {}, True, True, None)
            with adapter.send(posted, timeout=TIMEOUT_SECONDS, **environment) as answer:
                yield answer

    def _headers(self, message_id: str, body: str, at: datetime.datetime) -> dict[str, str]:
        from standardwebhooks import Webhook  # slow to load, and not needed until a notice is sent

        signatures = (Webhook(str(secret)).sign(message_id, at, body) for secret in self._secrets)
        return {
            "Content-Type": "application/json",
            "User-Agent": "Corkage",
            "webhook-id": message_id,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": " ".join(signatures),
        }


def body_of(notice: Notice) -> str:
    """Return the JSON body: type, timestamp, and data with user, subscription, access before and after, and details."""
    at = datetime.datetime.fromtimestamp(notice.created_at, datetime.UTC).isoformat(timespec="milliseconds")
    whom = {name: getattr(notice, name) for name in ("user_id", "subscription_id", "purchase_id")}
    data: dict[str, Any] = whom | {"before": notice.before._asdict(), "after": notice.after._asdict()}
    if notice.details:
        data["details"] = dict(notice.details)
    said = {"type": notice.kind, "timestamp": at.replace("+00:00", "Z"), "data": data}
    return json.dumps(said, separators=(",", ":"))


def _as_it_is(request: Any) -> Any:
    """Add nothing: without an auth, requests would look for a password in a .netrc file."""
    return request


def _judged(answer: Any) -> str:
    status = answer.status_code
    if 200 <= status < 300:
        return f"answered {status}"
    if status == GONE:
        log.error("BILLING_NOTIFY_URL answered 410 Gone: nothing is sent for an hour; if it is meant, unset it")
        raise NotDelivered("answered 410 Gone", is_down=True, retry_after_seconds=GONE_SECONDS)
    if 300 <= status < 400:
        raise NotDelivered(f"answered {status}: redirects are not followed, set BILLING_NOTIFY_URL to where it leads")
    raise NotDelivered(f"answered {status}", is_down=status in DOWN, retry_after_seconds=_retry_after(answer.headers))


def _retry_after(headers: Any) -> float:
    """Return how long to wait, from seconds or an HTTP date: an hour at most, 0 for anything else."""
    said = headers.get("Retry-After", "").strip(BLANKS)
    if re.fullmatch("[0-9]+", said):
        return min(float(said), LONGEST_RETRY_AFTER_SECONDS)
    try:
        until = parsedate_to_datetime(said)
        seconds = (until - datetime.datetime.now(datetime.UTC)).total_seconds()
    except (OverflowError, TypeError, ValueError):
        return 0
    return min(max(0, seconds), LONGEST_RETRY_AFTER_SECONDS)


def _reason_of(error: BaseException) -> str:
    """Return what went wrong: the kind of error, and the system's word for it, where there is one."""
    reasons = [each.strerror for each in _causes(error) if isinstance(each, OSError) and each.strerror]
    return ": ".join([type(error).__name__, *map(str, reasons[-1:])])


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
