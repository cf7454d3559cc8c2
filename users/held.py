"""What is held here about one user: which rows of which tables. Export and forget go by it."""

from typing import Any

from .. import models
from ..models import Customer, Subscription, Table, User

Conditions = dict[type[Table], Any]

_OF_USER: tuple[Any, ...] = (
    models.CheckoutAttempt,
    models.Credit,
    models.Usage,
    models.UsageKey,
    models.MeterEvent,
    models.ChangeRow,
    models.Grant,
    models.GrantMirror,
)
ERASED: tuple[type[Table], ...] = (
    models.SubscriptionItem,
    models.Move,
    models.Subscription,
    models.Purchase,
    models.Refund,
    *_OF_USER,
    models.AnswerRow,
    models.NoticeDelivery,
    models.NoticeRow,
    User,
)
"""The tables that forget deletes the user's rows of, in an order that no foreign key minds."""

KEPT: dict[type[Table], str] = {
    Customer: "the bare id of each customer, without a user, for events that come late",
    models.StripeEvent: "ids and kinds of events about these customers, without content, until they are pruned",
}
"""The tables of which something stays, and what that is."""

OF_NOBODY: dict[type[Table], str] = {
    models.RevenueRow: "sums over all subscriptions",
    models.Price: "what is sold",
    models.PlanRow: "what is sold",
    models.NoticeReceiver: "where notices go",
    models.Cursor: "when recurring jobs are due",
    models.Setting: "what the database knows about itself",
}
"""The tables that hold nothing about a person."""


def conditions_of(user_id: str) -> Conditions:
    """Return, for each table with rows of users, the condition that this user's rows meet."""
    customers = Customer.select(Customer.id).where(Customer.user == user_id)
    subscriptions = Subscription.select(Subscription.id).where(Subscription.customer.in_(customers))
    notices = models.NoticeRow.select(models.NoticeRow.id).where(models.NoticeRow.user == user_id)
    by_reference: Conditions = {table: table.user == user_id for table in (*_OF_USER, Customer, models.NoticeRow)}
    return {
        User: User.id == user_id,
        **by_reference,
        models.AnswerRow: models.AnswerRow.user_id == user_id,
        models.NoticeDelivery: models.NoticeDelivery.notice.in_(notices),
        Subscription: Subscription.customer.in_(customers),
        models.SubscriptionItem: models.SubscriptionItem.subscription.in_(subscriptions),
        models.Move: models.Move.subscription_id.in_(subscriptions),
        models.Purchase: models.Purchase.customer.in_(customers),
        models.Refund: models.Refund.customer.in_(customers),
        models.StripeEvent: _events_of(customers),
    }


def _events_of(customers: Any) -> Any:
    """Return the condition that an event is about one of these customers: in two parts, each of which an index has."""
    theirs: Any = models.StripeEvent.select(models.StripeEvent.id).where(models.StripeEvent.customer_id.in_(customers))
    at = models.StripeEvent.applied_at
    return models.StripeEvent.id.in_(theirs.where(at.is_null()) | theirs.where(at.is_null(False)))


def count_rows(conditions: Conditions, tables: tuple[type[Table], ...] = ERASED) -> dict[str, int]:
    """Return how many rows of the user each of these tables holds, by its name, without those that hold none."""
    counts = {name_of(table): table.select().where(conditions[table]).count() for table in tables}
    return {name: count for name, count in counts.items() if count}


def name_of(table: type[Table]) -> str:
    """Return the table's name in the database."""
    return str(table._meta.table_name)
