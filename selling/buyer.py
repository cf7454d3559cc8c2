"""Who buys, and what they want."""

import json
from dataclasses import dataclass, field

from ..models import Price, User
from ..plans import Plan


@dataclass(frozen=True, slots=True)
class Buyer:
    """The user who buys, and where Stripe sends them afterwards.

    Shape   user_id: who will have the subscription; buyer_id: who clicks, if not the same;
            portal_return_url: where the portal leads back to; empty for cancel_url;
            locale: the language of Stripe's page, as Stripe names it; empty for the browser's;
            has_verified_email: the host says that the e-mail is that of who clicks
    """

    user_id: str
    email: str | None
    name: str | None
    success_url: str
    cancel_url: str
    portal_return_url: str = ""
    buyer_id: str = ""
    locale: str = ""
    has_verified_email: bool = False

    @property
    def after_portal(self) -> str:
        return self.portal_return_url or self.cancel_url

    @property
    def people(self) -> list[str]:
        """The users who get one trial between them."""
        return [each for each in (self.user_id, self.buyer_id) if each]


@dataclass(frozen=True, slots=True)
class Wish:
    """What is wanted: a price of a plan, how many of it, and a promotion code as the visitor typed it.

    Shape   quantity: None for as many as the user has or, at a first purchase, the least;
            names_price: a price was named; else a subscriber at any price of the plan has what is wanted;
            plans_with_seats: the keys of all plans that have seats;
            again: they were asked whether they pay already, and want to buy
    """

    plan: Plan
    price: Price
    quantity: int | None = None
    code: str = ""
    names_price: bool = True
    plans_with_seats: frozenset[str] = frozenset()
    again: bool = False

    @property
    def is_once(self) -> bool:
        """Whether it is paid once: its price has no interval."""
        return not self.price.interval

    @property
    def count(self) -> int:
        return self.quantity or (self.plan.seats[0] if self.plan.seats else 1)


@dataclass(frozen=True, slots=True)
class Selling:
    """How things are sold.

    Shape   app: our name in Stripe's metadata; takes_codes: promotion codes are used, and Checkout has a field for
            them; tax: Stripe works out the tax; tax_ids: businesses may enter their tax id
    """

    app: str
    takes_codes: bool = False
    tax: bool = False
    tax_ids: bool = False

    def parameters(self, buyer: Buyer, wish: Wish, *, had_trial: bool) -> dict[str, object]:
        """Return the parameters of a Checkout Session, without the customer and without a promotion code.

        Source  docs.stripe.com/api/checkout/sessions/create
        """
        plan, price = wish.plan, wish.price
        ours = {"corkage_app": self.app, "corkage_user": buyer.user_id}
        sold = {"corkage_plan": plan.key, "corkage_price": price.id}
        bought_by = {"corkage_buyer": buyer.buyer_id} if buyer.buyer_id else {}
        parameters: dict[str, object] = {
            "line_items": [_item(wish)],
            "client_reference_id": buyer.user_id,
            "success_url": buyer.success_url,
            "cancel_url": buyer.cancel_url,
        }
        if wish.is_once:
            parameters |= _once(ours | sold | bought_by)
        else:
            trial = None if had_trial or not plan.trial_days else plan
            parameters |= _recurring(ours, sold | bought_by, trial)
        if self.takes_codes:
            parameters["allow_promotion_codes"] = True
        if self.tax:
            parameters["automatic_tax"] = {"enabled": True}
        if self.tax_ids:
            parameters["tax_id_collection"] = {"enabled": True}
        if self.tax or self.tax_ids:
            parameters["customer_update"] = {"address": "auto", "name": "auto"}
        if buyer.locale:
            parameters["locale"] = buyer.locale
        return parameters


def had_trial(people: list[str]) -> bool:
    """Return whether one of these users had a trial: they get one between them."""
    return User.select().where(User.id.in_(people), User.trial_used_at.is_null(False)).exists()


def wish_text(wish: Wish, parameters: dict[str, object]) -> str:
    """Return a wish as text, with all that its session fixes. Wishes with the same text get the same session."""
    return json.dumps({"code": wish.code, **parameters}, sort_keys=True)


def _once(tags: dict[str, str]) -> dict[str, object]:
    """Return the parameters of what is paid once. The payment and its invoice say what it is, too."""
    return {
        "mode": "payment",
        "metadata": tags,
        "payment_intent_data": {"metadata": tags},
        "invoice_creation": {"enabled": True, "invoice_data": {"metadata": tags}},
    }


def _recurring(ours: dict[str, str], sold: dict[str, str], trial: Plan | None) -> dict[str, object]:
    """Return the parameters of what is paid again and again. trial: the plan that begins with a trial."""
    data: dict[str, object] = {"metadata": ours | sold}
    parameters: dict[str, object] = {"mode": "subscription", "metadata": ours, "subscription_data": data}
    if trial is not None:
        data["trial_period_days"] = trial.trial_days
        if not trial.trial_card:
            parameters["payment_method_collection"] = "if_required"
            data["trial_settings"] = {"end_behavior": {"missing_payment_method": trial.trial_then}}
    return parameters


def _item(wish: Wish) -> dict[str, object]:
    """Return the one line item. What is billed by usage takes no quantity."""
    if wish.price.metered:
        return {"price": wish.price.id}
    item: dict[str, object] = {"price": wish.price.id, "quantity": wish.count}
    if wish.plan.seats:
        least, most = wish.plan.seats
        item["adjustable_quantity"] = {"enabled": True, "minimum": least, "maximum": most}
    return item


@dataclass(frozen=True, slots=True)
class Lead:
    """Where a click leads.

    Shape   note: a code of selling/__init__.py when the visitor is to read a note first; values: for its sentence
    """

    url: str
    note: str = ""
    values: dict[str, str] = field(default_factory=dict)
