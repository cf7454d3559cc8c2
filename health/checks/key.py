"""Stripe's key, and the clocks of both sides."""

from collections.abc import Iterator

from ...errors import StripeError
from ...gateway.calls import is_unknown_key
from ...models import setting
from .check import Check, Examination, Seen, note, ok, wrong

FAR_APART_SECONDS = 60.0  # an answer's date is exact to a second, and the call takes some
UNSIGNED_SECONDS = 300.0  # from which on every webhook and many tokens are refused
KEY_REPAIR = "set STRIPE_SECRET_KEY to a key from Stripe's Dashboard, Developers, API keys, and restart"
CLOCK_REPAIR = "timedatectl set-ntp true"


def _key(examination: Examination) -> Iterator[Seen]:
    try:
        account = examination.at_stripe["account"]
    except StripeError as error:
        if not is_unknown_key(error):
            raise
        yield wrong("Stripe does not know STRIPE_SECRET_KEY, or it was revoked: nothing can be bought", KEY_REPAIR)
        return
    kind = "live" if examination.config.livemode else "test"
    if account is None:
        yield ok(f"a restricted key of {kind} mode, which may not say its account")
    else:
        yield from _of_account(account, kind)


def _of_account(account: str, kind: str) -> Iterator[Seen]:
    remembered = setting("account") or account
    if account == remembered:
        yield ok(f"{kind} mode, account {account}")
    else:
        yield wrong(
            f"the key belongs to the account {account}, and the database mirrors {remembered}",
            f"set STRIPE_SECRET_KEY to a key of {remembered}, or another BILLING_DATABASE, and restart",
        )


def _mode(examination: Examination) -> Iterator[Seen]:
    config = examination.config
    address = config.billing_url or config.frontend_url
    if config.livemode:
        yield ok("live: money moves")
        if not address.startswith("https:"):
            yield wrong(
                f"live mode, and visitors come to {address} without encryption",
                "set BILLING_URL and FRONTEND_URL to https addresses, and restart",
            )
    elif examination.config.stripe_api_base:
        yield note(f"test, at {config.stripe_api_base}: no money moves")
    else:
        yield note("test: no money moves")


def _clock(examination: Examination) -> Iterator[Seen]:
    _ = examination.at_stripe["account"]  # this answer has shown Stripe's clock
    ahead = examination.watched.seen().ahead
    if ahead is None:
        yield ok("not compared: a simulator's clock may be moved")
    elif abs(ahead) > FAR_APART_SECONDS:
        where = "behind" if ahead > 0 else "ahead of"
        yield wrong(f"this machine's clock is {abs(ahead):.0f} s {where} Stripe's: {_effect(ahead)}", CLOCK_REPAIR)


def _effect(ahead: float) -> str:
    if abs(ahead) > UNSIGNED_SECONDS:
        return "webhooks are refused for their age, and access begins and ends at the wrong time"
    return "access begins and ends at the wrong time, and webhooks are refused from 300 s on"


CHECKS = (
    Check("key", "whether Stripe knows the key, and which account it belongs to", "Stripe knows the key", _key),
    Check("mode", "test or live, and https where it is live", "", _mode),
    Check(
        "clock",
        "this machine's clock beside the `Date` of Stripe's answers",
        "not a minute apart from Stripe's",
        _clock,
    ),
)
