"""The scheduled actions by name. State files hold the names, so they stay as they are."""

from collections.abc import Callable

from .api import checkout_sessions, subscription_schedules, subscriptions
from .api.pricing import meter_events
from .billing import discounts, lifecycle, payments, pending_updates, schedules
from .billing.invoicing import due_dates
from .money import disputes, intents, payouts, refunds
from .world import World

ACTIONS: dict[str, Callable[[World, str, int], None]] = {
    "answer_of_bank": payments.receive_bank_answer,
    "answer_of_bank_for_intent": intents.settle_when_due,
    "answer_of_bank_for_refund": refunds.receive_bank_answer,
    "answer_of_bank_for_session": checkout_sessions.receive_bank_answer,
    "apply_pending_update": subscriptions.apply_pending_update,
    "begin_phase": subscription_schedules.begin_phase,
    "cancel": lifecycle.cancel_as_scheduled,
    "close_dispute": disputes.close_when_due,
    "complete_schedule": schedules.complete,
    "end_offer": discounts.deactivate,
    "end_pause_of_collection": lifecycle.end_pause_of_collection,
    "expire": lifecycle.expire,
    "expire_pending_update": pending_updates.expire,
    "expire_session": checkout_sessions.expire_when_due,
    "finalize": lifecycle.finalize,
    "invoice_overdue": due_dates.pass_due_date,
    "payout_arrives": payouts.arrive,
    "remind_of_invoice": due_dates.remind,
    "renew": lifecycle.renew,
    "report_meter_errors": meter_events.report_errors,
    "retry": payments.retry,
    "tell_of_schedule_end": schedules.announce_end,
    "tell_of_trial_end": lifecycle.announce_trial_end,
    "topup_arrives": payouts.arrive_in_balance,
}
