"""What each entry of the agenda has happen."""

from collections.abc import Callable

from .api import checkout_sessions, subscription_schedules
from .billing import discounts, lifecycle, payments, schedules
from .world import World

ACTIONS: dict[str, Callable[[World, str, int], None]] = {
    "answer_of_bank": payments.answer_of_bank,
    "answer_of_bank_for_session": checkout_sessions.answer_of_bank,
    "begin_phase": subscription_schedules.begin_phase,
    "cancel": lifecycle.cancel_as_scheduled,
    "complete_schedule": schedules.complete,
    "end_offer": discounts.end_offer,
    "end_pause_of_collection": lifecycle.end_pause_of_collection,
    "expire": lifecycle.expire,
    "expire_session": checkout_sessions.expire_when_due,
    "finalize": lifecycle.finalize,
    "renew": lifecycle.renew,
    "retry": payments.retry,
    "tell_of_schedule_end": schedules.tell_of_end,
    "tell_of_trial_end": lifecycle.tell_of_trial_end,
}
