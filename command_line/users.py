"""Commands about one user."""

from click import Argument, Choice, Option

from .command import JSON, YES, command, group
from .values import CHARGES, COUNT, END, FEEDBACKS, TEXT, USER

_USER = Argument(["user"], type=USER)
_PLAN = Argument(["plan"], type=TEXT)
_UNTIL = Option(["--until"], metavar="WHEN", type=END, help="2027-01-31, or with a time; UTC.")
_SUBSCRIPTION = Option(["--subscription"], metavar="SUB", type=TEXT, help="The default: the user's best one.")

SHOW = command(
    "show",
    "user.show",
    "Print whether this user may in, why, and what that rests on.",
    _USER,
    JSON,
    examples=("corkage user show ann", "corkage user show ann@example.org"),
)
EXPORT = command(
    "export",
    "personal.export",
    "Print all that is held here about a user, as JSON.",
    _USER,
    examples=("corkage user export ann > ann.json",),
)
FORGET = command(
    "forget",
    "personal.forget",
    "Cancel what a user pays for, forget them at Stripe and here, and prove it.",
    _USER,
    JSON,
    YES,
    examples=("corkage user forget ann", "corkage user forget ann --yes --json > receipt.json"),
)
GRANTS = command(
    "grants",
    "user.grants",
    "List the grants that run: to whom, by whom, why and until when.",
    Option(["--only-here"], is_flag=True, help="Only those of which Stripe has no copy."),
    JSON,
    examples=("corkage user grants --only-here",),
)
GRANT = command(
    "grant",
    "user.grant",
    "Give a user a plan, without a payment.",
    _USER,
    _PLAN,
    _UNTIL,
    Option(["--days"], metavar="N", type=COUNT, help="From now on; without an end it lasts until it is revoked."),
    Option(["--quantity"], metavar="N", type=COUNT, default=1, show_default=True, help="How many."),
    Option(["--reason"], type=TEXT, default="", help="For you and other operators."),
    at_most_one=("until", "days"),
    examples=("corkage user grant ann pro --days 30 --reason 'won a prize'",),
)
REVOKE = command("revoke", "user.revoke", "End a grant now.", _USER, _PLAN, examples=("corkage user revoke ann pro",))
LINK = command(
    "link",
    "user.link",
    "Give a Stripe customer to a user, by hand.",
    _USER,
    Argument(["customer"], type=TEXT),
    examples=("corkage user link ann cus_NffrFeUfNV2Hib",),
)
CHANGE = command(
    "change",
    "change.change",
    "Change the plan or the quantity, after a line about what it costs.",
    _USER,
    Argument(["plan"], type=TEXT, required=False),
    Option(["--quantity"], metavar="N", type=COUNT, help="How many there shall be."),
    Option(["--at-period-end"], is_flag=True, help="The default is now."),
    Option(["--charge"], type=Choice(CHARGES), default=CHARGES[0], show_default=True, help="The difference."),
    _SUBSCRIPTION,
    YES,
    examples=("corkage user change ann pro:pro_yearly", "corkage user change ann --quantity 5 --at-period-end"),
)
CANCEL = command(
    "cancel",
    "change.cancel",
    "End a subscription with its period, or now.",
    _USER,
    Option(["--now"], is_flag=True, help="The default is the end of the period."),
    Option(["--feedback"], metavar="WHY", type=Choice(FEEDBACKS), help=f"As Stripe counts it: {', '.join(FEEDBACKS)}."),
    Option(["--comment"], type=TEXT, help="Why, in the user's words."),
    _SUBSCRIPTION,
    YES,
    examples=("corkage user cancel ann", "corkage user cancel ann --now --yes"),
)
RESUME = command(
    "resume",
    "change.resume",
    "Have a subscription go on that is canceled for later, or paused.",
    _USER,
    _SUBSCRIPTION,
    YES,
    examples=("corkage user resume ann",),
)
EXTEND_TRIAL = command(
    "extend-trial",
    "change.extend_trial",
    "Have a trial last longer.",
    _USER,
    _UNTIL,
    Option(["--days"], metavar="N", type=COUNT, help="From now on."),
    _SUBSCRIPTION,
    YES,
    exactly_one=("until", "days"),
    examples=("corkage user extend-trial ann --days 14",),
)
COMMANDS = (
    group(
        "user",
        "Look at a user; grant, change, link, export or forget.",
        *(SHOW, GRANTS, GRANT, REVOKE, LINK, CHANGE, CANCEL, RESUME, EXTEND_TRIAL, EXPORT, FORGET),
    ),
)
