"""Calls that change a subscription: at once, at the end of its period, by a schedule."""

from typing import Any, cast

import stripe

from .calls import Calls, path_of
from .client import translated, unless_missing
from .reading import (
    phases_of,
    preview_of,
    schedule_of,
)
from .states import (
    PreviewState,
    ScheduleState,
)


class ChangeCalls(Calls):
    """What changes a subscription."""

    def cancel_subscription(
        self, subscription_id: str, params: dict[str, Any] | None = None, key: str | None = None
    ) -> None:
        """End a subscription at once, without a refund.

        Shape   params: Stripe's parameters, such as the reason; key: an idempotency key
        Errors  StripeRefused when it has ended already
        Source  docs.stripe.com/api/subscriptions/cancel
        """
        options: stripe.RequestOptions = {"idempotency_key": key} if key else {}
        wanted = cast("stripe.params.SubscriptionCancelParams", params or {})
        with translated():
            self._client.library.v1.subscriptions.cancel(subscription_id, params=wanted, options=options)

    def update_subscription(self, subscription_id: str, params: dict[str, Any], key: str) -> None:
        """Change a subscription. The same key with the same parameters makes one change for a day.

        Errors  StripeRefused when Stripe does not take the change; CardRefused when what it costs cannot be charged
        Source  docs.stripe.com/api/subscriptions/update
        """
        wanted = cast("stripe.params.SubscriptionUpdateParams", params)
        with translated():
            self._client.library.v1.subscriptions.update(
                subscription_id, params=wanted, options={"idempotency_key": key}
            )

    def resume_subscription(self, subscription_id: str, key: str | None = None) -> str:
        """Resume a paused subscription, with a new period from now that is charged at once; return its status.

        While the payment does not succeed it is paused, with the open invoice as its latest.

        Shape   key: an idempotency key
        Errors  StripeRefused when it is not paused
        Source  docs.stripe.com/api/subscriptions/resume
        """
        with translated():
            params: stripe.params.SubscriptionResumeParams = {
                "billing_cycle_anchor": {"type": "now"},
                "payment_behavior": "resume_on_payment_success",
            }
            options: stripe.RequestOptions = {"idempotency_key": key} if key else {}
            return self._client.library.v1.subscriptions.resume(subscription_id, params=params, options=options).status

    def schedule(self, schedule_id: str, now: int) -> ScheduleState | None:
        """Fetch a subscription schedule, as of a moment; None when this account has none of this id.

        Source  docs.stripe.com/api/subscription_schedules/retrieve
        """
        path = path_of("subscription_schedules", schedule_id)
        return unless_missing(lambda: schedule_of(self._client.get(path)[0], now))

    def schedule_items(self, subscription_id: str, items: list[dict[str, Any]], key: str) -> None:
        """Have a subscription go on with other items from the end of its period on. Safe to repeat with the same key.

        A schedule takes two calls: one makes it of the subscription as it is, the other adds what comes next. A day
        after the change it lets the subscription go: the portal changes none that has a schedule.

        Shape   items: Stripe's parameters of the items that the next phase has, with the price that each had: "was"
        Errors  StripeRefused when the subscription has a schedule already, or takes no such items
        Source  docs.stripe.com/api/subscription_schedules/create and /update
        """
        schedules = self._client.library.v1.subscription_schedules
        with translated():
            made = schedules.create(
                params={"from_subscription": subscription_id}, options={"idempotency_key": f"{key}-create"}
            ).to_dict()
            params: Any = {"end_behavior": "release", "proration_behavior": "none", "phases": phases_of(made, items)}
            try:
                schedules.update(made["id"], params=params, options={"idempotency_key": f"{key}-update"})
            except stripe.InvalidRequestError:
                schedules.release(made["id"], options={"idempotency_key": f"{key}-release"})
                raise

    def release_schedule(self, schedule_id: str, key: str) -> None:
        """Let the subscription of a schedule go on as it is, without the schedule.

        Errors  StripeRefused when the schedule has come to its end already
        Source  docs.stripe.com/api/subscription_schedules/release
        """
        with translated():
            self._client.library.v1.subscription_schedules.release(schedule_id, options={"idempotency_key": key})

    def preview_change(self, subscription_id: str, details: dict[str, Any]) -> PreviewState:
        """Fetch the invoice that would follow a change of a subscription. Nothing is changed.

        Shape   details: Stripe's `subscription_details`
        Errors  StripeRefused when Stripe would refuse the change
        Source  docs.stripe.com/api/invoices/create_preview
        """
        params: Any = {"subscription": subscription_id, "subscription_details": details}
        with translated():
            return preview_of(self._client.library.v1.invoices.create_preview(params=params).to_dict())
