"""How Stripe's webhook endpoint differs from what is wanted, as steps."""

from collections.abc import Iterator
from typing import Any

from ..config import Config
from ..gateway.calls import API_VERSION
from ..health.checks.endpoint import OLDEST_READ
from ..sync.endpoint import APP, SECRET, endpoint_events, endpoint_url, fingerprint
from . import wanted
from .step import BY_HAND, STATE, Call, Step, is_changed_by_hand, state_of

PATH = "/v1/webhook_endpoints"
Endpoint = dict[str, Any]


def endpoint_steps(config: Config, endpoints: tuple[Endpoint, ...], *, overwrite: bool) -> Iterator[Step]:
    """Return what is to be done about the webhook endpoint. Stripe shows its secret once, so it is known here by the
    digest that push left with it.
    """
    url = endpoint_url(config)
    if url is None:
        return
    ours = [each for each in endpoints if (each["metadata"] or {}).get(APP) == config.app]
    ours_here = [each for each in ours if each["url"] == url]
    others = [each for each in endpoints if each["url"] == url and each not in ours and each["status"] == "enabled"]
    usable = next((each for each in ours if is_known(config, each) and _is_read(each)), None)
    if usable is not None:
        yield from _mended(config, usable, url, overwrite=overwrite)
        yield from _removed(url, [each for each in ours_here if each is not usable])
        yield from _others(config, url, others, overwrite=overwrite)
    elif why := _why_not_made(config, ours_here, others) if not overwrite else "":
        yield Step("endpoint", url, "make", refused=why)
    elif not others or not config.webhook_secrets or overwrite:
        events, again = endpoint_events(config), " anew" if ours_here else ""
        what = f"make{again}: {len(events)} events in {API_VERSION}"
        removed = (_delete(each) for each in ours_here)
        yield Step("endpoint", url, what, (_make(config, url, events), *removed), has_secret=True)


def is_known(config: Config, endpoint: Endpoint) -> bool:
    """Return whether one of the configured secrets is that of an endpoint which push made."""
    return endpoint["metadata"].get(SECRET) in {fingerprint(each) for each in config.webhook_secrets}


def _is_read(endpoint: Endpoint) -> bool:
    return endpoint["api_version"] is None or endpoint["api_version"] >= OLDEST_READ


def _why_not_made(config: Config, ours_here: list[Endpoint], others: list[Endpoint]) -> str:
    lost = [each["id"] for each in ours_here if each["metadata"].get(SECRET) and not is_known(config, each)]
    if lost:
        return (
            f"{lost[0]} is there, and its secret is not set here: set it as STRIPE_WEBHOOK_SECRET, or --overwrite "
            "makes another endpoint in its place, and whoever has the old secret gets no webhooks"
        )
    if others and not config.webhook_secrets:
        return (
            f"{others[0]['id']} posts there, and push did not make it: set its secret as STRIPE_WEBHOOK_SECRET, or "
            "--overwrite makes another beside it"
        )
    return ""


def _make(config: Config, url: str, events: list[str]) -> Call:
    params = {
        "url": url,
        "enabled_events": events,
        "api_version": API_VERSION,
        "description": f"Made by corkage push for {config.app}"[: wanted.LONGEST_NAME],
        "metadata": {APP: config.app, STATE: state_of([url, events])},
    }
    return Call("post", PATH, params)


def _delete(endpoint: Endpoint) -> Call:
    return Call("delete", f"{PATH}/{endpoint['id']}")


def _removed(url: str, spare: list[Endpoint]) -> Iterator[Step]:
    """Delete what a push left that was cut off."""
    if spare:
        ids = " and ".join(each["id"] for each in spare)
        yield Step("endpoint", url, f"delete {ids}, which push made too", tuple(map(_delete, spare)))


def _others(config: Config, url: str, others: list[Endpoint], *, overwrite: bool) -> Iterator[Step]:
    """A second endpoint at our address signs with a secret of its own. With as many secrets set, it may be known."""
    for each in others[len(config.webhook_secrets) - 1 :]:
        call = Call("post", f"{PATH}/{each['id']}", {"disabled": True})
        why = f"{each['id']} posts there too, and push did not make it: delete it, or --overwrite disables it"
        yield Step("endpoint", url, f"disable {each['id']}", (call,), "" if overwrite else why)


def _mended(config: Config, present: Endpoint, url: str, *, overwrite: bool) -> Iterator[Step]:
    events, there = endpoint_events(config), present["enabled_events"]
    lacking = [] if "*" in there else sorted(set(events) - set(there))
    is_elsewhere, is_off = present["url"] != url, present["status"] != "enabled"
    said = [
        f"add {', '.join(lacking[:2])}{f' and {len(lacking) - 2} events' if len(lacking) > 2 else ''}" * bool(lacking),
        f"move it from {present['url']}" * is_elsewhere,
        "enable it" * is_off,  # Stripe itself disables an endpoint that fails for days
    ]
    if not any(said):
        return
    is_by_hand = (lacking or is_elsewhere) and is_changed_by_hand(present["metadata"], [present["url"], there])
    marks = {STATE: state_of([url, events])}
    params: dict[str, Any] = {"url": url, "enabled_events": events, "disabled": False, "metadata": marks}
    call = Call("post", f"{PATH}/{present['id']}", params)
    why = BY_HAND if is_by_hand and not overwrite else ""
    yield Step("endpoint", url, ", ".join(filter(None, said)), (call,), why)
