"""A step of `corkage push`: what is to be done at Stripe, why it is not done, and the calls that do it."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from ..sync.endpoint import fingerprint

STATE, KEY, PLAN = "corkage_state", "corkage_key", "corkage_plan"
"""Keys of Stripe's metadata: what the last push left, by a digest; the price's lookup key; the plan."""
ARCHIVED = "archived"  # the state of what push archived itself
BY_HAND = "it was changed at Stripe since the last push; --overwrite sets it back"
SHAPE = "1"
"""The version of what digests are made of. With another one nothing can be said about changes by hand."""


class Call(NamedTuple):
    """A call that changes something. key: for calls that must not be made twice, the idempotency key."""

    method: str
    path: str
    params: Mapping[str, Any] = MappingProxyType({})
    key: str | None = None


class Step(NamedTuple):
    """Something that differs.

    Shape   stage: "meter", "product", "price", "portal", "endpoint" or "old"; name: of what differs, as plans.toml has
            it; what: what is done, in words; refused: why it is not done, empty where it is;
            subscribed: the price whose subscribers keep it;
            has_secret: the answer of the first call holds the endpoint's secret, which must be on disk before the next
    """

    stage: str
    name: str
    what: str
    calls: tuple[Call, ...] = ()
    refused: str = ""
    subscribed: str = ""
    has_secret: bool = False


def state_of(value: Any) -> str:
    """Return what is kept in the metadata of an object that was left with this value."""
    return f"{SHAPE}:{fingerprint(normal(value))}"


def is_changed_by_hand(metadata: Mapping[str, str] | None, present: Any) -> bool:
    """Return whether somebody else has changed an object since the last push.

    Shape   present: what it holds now, of what push sets
    """
    left = (metadata or {}).get(STATE, "")
    return not left or (left.startswith(f"{SHAPE}:") and left != state_of(present))


def picked(found: Any, shape: Any) -> Any:
    """Return of what Stripe says that which stands in the shape, too: Stripe says more than it was asked to store."""
    if isinstance(shape, dict) and isinstance(found, dict):
        return {name: picked(found.get(name), each) for name, each in shape.items()}
    return found


def normal(value: Any) -> Any:
    """Return a value in which the order of lists says nothing, and what is empty does not stand."""
    if isinstance(value, dict):
        return {name: normal(each) for name, each in sorted(value.items()) if each not in (None, "", [])}
    if isinstance(value, list | tuple):
        return sorted((normal(each) for each in value), key=repr)
    return value
