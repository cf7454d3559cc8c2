"""The sentences that a visitor reads before a page of Stripe's, by the code that programs get."""

from ..selling import CANCELING, CODE_UNKNOWN, NOT_OFFERED, SEVERAL_ITEMS
from . import N_

NOTES = {
    SEVERAL_ITEMS: N_(
        "Your subscription has several parts, so it cannot be changed in one click. "
        "The next page shows what you can do."
    ),
    CANCELING: N_("Your plan is canceled. If you keep it, on the next page, you can change it afterwards."),
    NOT_OFFERED: N_("This change cannot be made in one click. The next page shows what you can change."),
    CODE_UNKNOWN: N_("The code %(code)s is not valid for this. Without another one, you pay the full price."),
}
