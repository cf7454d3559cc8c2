"""Calls for the pages that Stripe hosts: Checkout and the customer portal."""

from typing import Any, cast

import stripe

from ..errors import StripeRefused
from ..logs.facts import logger
from .calls import PAGE, Calls, path_of
from .client import translated, unless_missing
from .reading import (
    id_of,
    session_of,
)
from .states import (
    SessionState,
)

log = logger("corkage.stripe")


class PageCalls(Calls):
    """Checkout and the customer portal."""

    def create_checkout_session(self, params: dict[str, Any], key: str) -> SessionState:
        """Create a Checkout Session. The same key with the same parameters gives the same session for a day.

        Errors  UnknownCustomer when the customer in the parameters does not exist or was deleted
        Source  docs.stripe.com/api/checkout/sessions/create
        """
        with translated(params.get("customer")):
            wanted = cast("stripe.params.checkout.SessionCreateParams", params)
            made = self._client.library.v1.checkout.sessions.create(params=wanted, options={"idempotency_key": key})
            return session_of(made.to_dict())

    def checkout_session(self, session_id: str) -> SessionState | None:
        """Fetch a Checkout Session; None when this account has none of this id.

        Source  docs.stripe.com/api/checkout/sessions/retrieve
        """
        path = path_of("checkout/sessions", session_id)
        return unless_missing(lambda: session_of(self._client.get(path, expand=["customer"])[0]))

    def expire_checkout_session(self, session_id: str) -> None:
        """Close an open Checkout Session for ever.

        Errors  StripeRefused when it is no longer open
        """
        with translated():
            self._client.library.v1.checkout.sessions.expire(session_id)

    def promotion_codes(self, code: str) -> dict[str | None, str]:
        """Fetch the active promotion codes that visitors know by this text: ids by the customer that each is for.

        Shape   None stands for any customer
        Source  docs.stripe.com/api/promotion_codes/list
        """
        with translated():
            found = self._client.every("/v1/promotion_codes", code=code, active=True, limit=PAGE)
            return {id_of(each["customer"]) if each["customer"] else None: each["id"] for each in found}

    def create_portal_session(self, customer_id: str, params: dict[str, object]) -> str:
        """Create a portal session for the customer, and return its address.

        Shape   params: Stripe's parameters of a portal session, without the customer
        Errors  UnknownCustomer when the customer does not exist or was deleted;
                StripeRefused when the portal's configuration does not offer the wanted flow
        Source  docs.stripe.com/api/customer_portal/sessions/create
        """
        everything = cast("stripe.params.billing_portal.SessionCreateParams", {"customer": customer_id, **params})
        try:
            with translated(customer_id):
                return self._client.library.v1.billing_portal.sessions.create(params=everything).url
        except StripeRefused as error:
            if getattr(error.__cause__, "param", None) != "configuration":
                raise
            log.warning("the portal opens with the account's own settings: %s. `corkage push` mends it", error)
            others = {name: value for name, value in params.items() if name != "configuration"}
            return self.create_portal_session(customer_id, others)
