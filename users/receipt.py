"""The receipt of a forgotten user: what was ended and deleted, what is true at Stripe now, and what stays and why."""

from dataclasses import asdict, dataclass, field
from typing import Any

from ..models import Customer
from .held import KEPT

DELETED = "deleted, and read again: it is gone"
DELETED_BEFORE = "deleted already"
UNKNOWN = "Stripe does not know it"
SHARED = "kept, because another product uses it, too; read again: it names nobody of ours, and nothing of ours goes on"

STAYS_AT_STRIPE = (
    "at Stripe: invoices and payments, which the law has you keep",
    "at Stripe: your id of the user, in the metadata of ended subscriptions and pages",
)
STAYS_ELSEWHERE = (
    "in backups of the database that were made before, until you delete them",
    "in the log: lines with the user's id and Stripe's ids, as long as you keep the log",
)


@dataclass
class Receipt:
    """What came of forgetting a user.

    Shape   sessions: of Checkout, that were open and are closed; subscriptions: those that were ended;
            customers: what is true of each at Stripe; rows: how many were deleted here, by table;
            events: how many rows of the inbox stay; delivered: how many notices about the user receivers have got;
            is_done: False where it was cut off, and is to be called again
    """

    user_id: str
    at: int
    sessions: list[str] = field(default_factory=list)
    subscriptions: list[str] = field(default_factory=list)
    customers: dict[str, str] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    events: int = 0
    delivered: int = 0
    is_done: bool = False

    def stays(self) -> list[str]:
        """Return what is still somewhere, and why."""
        received = f"with your product: what it made of {self.delivered} delivered notices" if self.delivered else ""
        bare = f"here: {KEPT[Customer]}"
        events = f"here: {self.events} events, ids and kinds without content, for BILLING_KEEP_EVENTS_DAYS"
        named = [bare if self.customers else "", events if self.events else "", received]
        return [*filter(None, named), *(STAYS_AT_STRIPE if self.customers else ()), *STAYS_ELSEWHERE]

    def to_dict(self) -> dict[str, Any]:
        """Return it as what json.dumps() takes."""
        return {**asdict(self), "stays": self.stays()}
