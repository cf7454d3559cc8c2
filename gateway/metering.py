"""Calls for usage: what is reported to meters, and what they have counted."""

from typing import Any
from urllib.parse import quote_plus

import stripe

from .calls import PAGE, Calls, path_of
from .client import Object, translated
from .reading import (
    meter_errors_of,
    meter_of,
)
from .states import (
    MeterErrors,
    MeterState,
)

METER_ERRORS = ("v1.billing.meter.error_report_triggered", "v1.billing.meter.no_meter_found")
TWICE = "duplicate_meter_event"


class MeterCalls(Calls):
    """Usage, by meters."""

    def report_usage(self, event_name: str, customer_id: str, amount: int, identifier: str, used_at: int) -> None:
        """Report usage to a meter. Stripe counts an identifier once for at least a day: what it has already is done.

        Stripe says later, by an event, what it could not count after all: see meter_errors().

        Units   used_at in Unix seconds, by the customer's test clock where it has one
        Errors  StripeRefused when Stripe did not take it; after any other error it may have it
        Source  docs.stripe.com/api/billing/meter-event/create
        """
        params: stripe.params.billing.MeterEventCreateParams = {
            "event_name": event_name,
            "identifier": identifier,
            "payload": {"stripe_customer_id": customer_id, "value": str(amount)},
            "timestamp": used_at,
        }
        with translated():
            try:
                self._client.library.v1.billing.meter_events.create(params=params)
            except stripe.InvalidRequestError as error:
                if not _is_known(error):
                    raise

    def meters(self) -> tuple[MeterState, ...]:
        """Fetch the active meters.

        Source  docs.stripe.com/api/billing/meter/list
        """
        with translated():
            return tuple(map(meter_of, self._client.every("/v1/billing/meters", status="active", limit=PAGE)))

    def usage_of(self, meter_id: str, customer_id: str, starts_at: int, ends_at: int) -> float:
        """Fetch how much of a meter Stripe has counted for a customer. It adds up late: what is newest may lack.

        Units   Unix seconds, of whole minutes; the end does not belong to it
        Errors  UnknownCustomer when this account has no such customer
        Source  docs.stripe.com/api/billing/meter-event-summary/list
        """
        path = f"{path_of('billing/meters', meter_id)}/event_summaries"
        with translated(customer_id):
            found = self._client.every(path, customer=customer_id, start_time=starts_at, end_time=ends_at, limit=PAGE)
            return float(sum(each["aggregated_value"] for each in found))

    def meter_errors(self) -> tuple[MeterErrors, ...]:
        """Fetch what Stripe could not count in the last thirty days, after it had taken it; newest first.

        Source  docs.stripe.com/api/v2/core/events/list
        """
        found: list[MeterErrors] = []
        with translated():
            page: Any = self._client.get("/v2/core/events", types=list(METER_ERRORS))[0]
            while True:
                found += (each for event in page["data"] for each in meter_errors_of(self._whole(event)))
                if not page["next_page_url"]:
                    return tuple(found)
                page = self._client.get(page["next_page_url"])[0]

    def _whole(self, event: Object) -> Object:
        """Return a thin event with its data, which a list may leave out."""
        return event if event.get("data") else self._client.get(f"/v2/core/events/{quote_plus(event['id'])}")[0]


def _is_known(error: stripe.InvalidRequestError) -> bool:
    """Return whether Stripe refuses a meter event because it has its identifier already."""
    return error.code == TWICE or (error.param == "identifier" and "already exists" in str(error))
