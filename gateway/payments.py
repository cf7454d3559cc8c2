"""Calls for what was paid: purchases, refunds, disputes and invoices."""

from collections.abc import Iterator

from ..errors import StripeRefused
from ..logs.facts import logger
from .calls import PAGE, Calls, is_forbidden, path_of
from .client import Object, Page, translated, unless_missing
from .reading import (
    customer_of,
    expanded,
    id_of,
    invoice_of,
    latest_invoice_of,
    purchases_of,
    return_of,
    subscription_id_of,
)
from .states import (
    CustomerState,
    InvoiceState,
    LatestInvoice,
    Listed,
    PaymentState,
    PurchaseState,
)

log = logger("corkage.stripe")


class PaymentCalls(Calls):
    """What was paid, and paid back."""

    def purchases_of(self, customer_id: str) -> tuple[PurchaseState, ...]:
        """Fetch what the customer bought once: of every Checkout Session that is complete and paid, whoever made it.

        Errors  UnknownCustomer when this account has no such customer
        Source  docs.stripe.com/api/checkout/sessions/list, API version 2026-10-28.endive
        """
        with translated(customer_id):
            wanted = ["data.line_items", "data.invoice"]
            listed = self._client.every(
                "/v1/checkout/sessions", customer=customer_id, status="complete", limit=PAGE, expand=wanted
            )
            return tuple(purchase for each in listed for purchase in purchases_of(each, self._line_items(each)))

    def purchases_in(self, session_id: str) -> tuple[PurchaseState, ...]:
        """Fetch what a Checkout Session sold once; nothing while it is not paid, or where there is none of this id.

        Source  docs.stripe.com/api/checkout/sessions/retrieve
        """

        def fetch() -> tuple[PurchaseState, ...]:
            wanted = ["line_items", "invoice"]
            session, _ = self._client.get(path_of("checkout/sessions", session_id), expand=wanted)
            return purchases_of(session, self._line_items(session))

        return unless_missing(fetch) or ()

    def every_purchase(self) -> Iterator[Listed[tuple[CustomerState, PurchaseState]]]:
        """Fetch what every customer of the account bought once, with the customer, page by page, newest first.

        Source  docs.stripe.com/api/checkout/sessions/list
        """
        wanted = ["data.line_items", "data.invoice", "data.customer"]

        def read(page: Page) -> Listed[tuple[CustomerState, PurchaseState]]:
            found = (
                (customer_of(each["customer"], page.as_of), purchase)
                for each in page.items
                for purchase in purchases_of(each, self._line_items(each))
            )
            return Listed(tuple(found), page.as_of)

        yield from self._each_page(read, "/v1/checkout/sessions", status="complete", limit=PAGE, expand=wanted)

    def payment(self, payment_intent: str) -> PaymentState | None:
        """Fetch the refunds and disputes of a payment, and what was paid by it: three calls side by side. None when the
        key may not read them: what else is fetched of the customer must not wait for that.

        Source  docs.stripe.com/api/refunds/list, docs.stripe.com/api/disputes/list,
                docs.stripe.com/api/invoice-payment/list
        """
        try:
            return self._payment(payment_intent)
        except StripeRefused as error:
            if not is_forbidden(error):
                raise
            log.error("%s: what was paid back is not known: %s. Then run corkage sync", payment_intent, error)
            return None

    def _payment(self, payment_intent: str) -> PaymentState:
        of_payment = {"payment": {"type": "payment_intent", "payment_intent": payment_intent}}
        with translated():
            refunds, disputes, paid = self.side_by_side(
                lambda: list(self._client.every("/v1/refunds", payment_intent=payment_intent, limit=PAGE)),
                lambda: list(self._client.every("/v1/disputes", payment_intent=payment_intent, limit=PAGE)),
                lambda: self._client.page("/v1/invoice_payments", **of_payment, expand=["data.invoice"]).items,
            )
            invoice = expanded(paid[0]["invoice"]) if paid else None
            return PaymentState(
                payment_intent,
                tuple(map(return_of, [*refunds, *disputes])),
                invoice_id=str(invoice["id"]) if invoice else None,
                subscription_id=subscription_id_of(invoice) if invoice else None,
            )

    def payment_behind(self, object_id: str) -> tuple[str | None, str | None]:
        """Fetch whose payment a charge, a refund, a dispute or a PaymentIntent is about: the customer and the
        PaymentIntent, each None where there is none.

        Source  docs.stripe.com/api/charges/retrieve, docs.stripe.com/api/charges/list
        """
        if object_id.startswith("pi_"):
            with translated():
                found = self._client.page("/v1/charges", payment_intent=object_id, limit=1).items
            return (_customer_id(found[0]), object_id) if found else (None, None)
        kind, expand = _KINDS_OF_RETURNS.get(object_id.split("_", 1)[0], ("charges", None))
        path, wanted = path_of(kind, object_id), {"expand": [expand]} if expand else {}
        charge = unless_missing(lambda: self._charge_of(self._client.get(path, **wanted)[0], expand))
        if charge is None or not charge["payment_intent"]:
            return None, None
        return _customer_id(charge), id_of(charge["payment_intent"])

    def _charge_of(self, found: Object, expand: str | None) -> Object | None:
        return expanded(found[expand]) if expand else found

    def every_return(self) -> Iterator[tuple[str, str, str, str]]:
        """Fetch all refunds and disputes of the account, newest first: the customer, the PaymentIntent, the refund or
        dispute, and its status. Those of no customer, or of a payment without a PaymentIntent, are left out.

        Source  docs.stripe.com/api/refunds/list, docs.stripe.com/api/disputes/list
        """

        def read(page: Page) -> list[tuple[str, str, str, str]]:
            known = [(each, expanded(each["charge"]) or {"customer": None}) for each in page.items]
            return [
                (customer_id, id_of(each["payment_intent"]), str(each["id"]), str(each["status"]))
                for each, charge in known
                if each["payment_intent"] and (customer_id := _customer_id(charge)) is not None
            ]

        for path in ("/v1/refunds", "/v1/disputes"):
            for found in self._each_page(read, path, limit=PAGE, expand=["data.charge"]):
                yield from found

    def invoices_of(self, customer_id: str, most: int = 12) -> tuple[InvoiceState, ...]:
        """Fetch the customer's latest invoices, newest first, without drafts. One call.

        Errors  UnknownCustomer when this account has no such customer
        Source  docs.stripe.com/api/invoices/list
        """
        with translated(customer_id):
            page = self._client.page("/v1/invoices", customer=customer_id, limit=most)
            latest = {subscription_id_of(each): each["id"] for each in reversed(page.items)}
            return tuple(invoice_of(each, latest) for each in page.items if each["status"] != "draft")

    def finalize_invoice(self, invoice_id: str) -> LatestInvoice:
        """Finalize a draft, so that it can be paid.

        Errors  StripeRefused when it is no draft
        Source  docs.stripe.com/api/invoices/finalize
        """
        with translated():
            return latest_invoice_of(self._client.library.v1.invoices.finalize_invoice(invoice_id).to_dict())

    def void_invoice(self, invoice_id: str) -> None:
        """Void an open invoice: nobody can pay it any more.

        Errors  StripeRefused when it is not open, as when it was paid in this moment
        Source  docs.stripe.com/api/invoices/void
        """
        with translated():
            self._client.library.v1.invoices.void_invoice(invoice_id)

    def _line_items(self, session: Object) -> list[Object]:
        """Return all line items of a Checkout Session. It holds the first ten; more are in a list of their own."""
        held = session["line_items"]
        if not held["has_more"]:
            return list(held["data"])
        return list(self._client.every(f"{path_of('checkout/sessions', session['id'])}/line_items", limit=PAGE))


_KINDS_OF_RETURNS = {
    "re": ("refunds", "charge"),
    "pyr": ("refunds", "charge"),
    "dp": ("disputes", "charge"),
    "du": ("disputes", "charge"),
}
"""By the beginning of an id: the path, and the field that holds the charge."""


def _customer_id(charge: Object) -> str | None:
    return id_of(charge["customer"]) if charge["customer"] else None
