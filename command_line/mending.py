"""Commands that show what goes on, and mend what is wrong: events, notices, prices, the database."""

from click import Argument, Choice, Option

from .command import JSON, YES, command, listing
from .values import COUNT, DAYS, EVENT_STATES, FILE, MONTHS, NAME, NOTICE_STATES, TEXT, TIME


def _state(states: tuple[str, ...]) -> Option:
    return Option(["--state"], multiple=True, type=Choice(states), help="The default: failing and pending.")


_LIMIT = Option(["--limit"], type=COUNT, default=100, show_default=True, help="How many of each state.")
_SINCE = Option(["--since"], metavar="WHEN", type=TIME, help="All since: 2h, 3d, 2026-11-01.")

EVENTS = listing(
    command(
        "events",
        "events.show",
        "List events by state, or replay some.",
        _state(EVENT_STATES),
        _LIMIT,
        JSON,
        examples=("corkage events --state failing", "corkage events replay --failed"),
    ),
    command(
        "replay",
        "events.replay",
        "Apply events now, or again.",
        Argument(["event_id"], metavar="[ID]", type=TEXT, required=False),
        Option(["--failed"], is_flag=True, help="All that failed."),
        _SINCE,
        exactly_one=("event_id", "failed", "since"),
        examples=("corkage events replay evt_1NG8Du2eZvKYlo2CUI79vXWy", "corkage events replay --since 2h"),
    ),
)
NOTICES = listing(
    command(
        "notices",
        "notices.show",
        "List the notices of changes to your product, or resend some.",
        _state(NOTICE_STATES),
        _LIMIT,
        JSON,
        examples=("corkage notices --state failing", "corkage notices resend --failing"),
    ),
    command(
        "resend",
        "notices.resend",
        "Deliver notices now, or again.",
        Argument(["notice_id"], metavar="[ID]", type=TEXT, required=False),
        Option(["--failing"], is_flag=True, help="All that could not be delivered."),
        _SINCE,
        exactly_one=("notice_id", "failing", "since"),
        examples=("corkage notices resend --since 2026-11-01",),
    ),
)
STATS = command(
    "stats",
    "stats.show",
    "Print users, recurring revenue, who came and went, from the database alone.",
    Option(["--months"], metavar="N", type=MONTHS, default=12, show_default=True, help="How many."),
    JSON,
    examples=("corkage stats --months 3", "corkage stats --json"),
)
SYNC = command(
    "sync",
    "sync.sync",
    "Make the replica equal to all that Stripe holds; safe while serving.",
    Option(["--dry-run"], is_flag=True, help="Only print what is different."),
    JSON,
    examples=("corkage sync --dry-run",),
)
MOVE_PRICE = command(
    "move-price",
    "move_price.move_price",
    "Give all who pay one price another one, after a notice.",
    Argument(["old"], type=TEXT),
    Argument(["new"], type=TEXT),
    Option(["--days"], metavar="N", type=DAYS, default=30, show_default=True, help="Between the notice and the move."),
    Option(["--yes"], is_flag=True, help="Do it; without it, only say who pays what."),
    Option(["--undo"], is_flag=True, help="Withdraw what is to come, and move back who was moved."),
    JSON,
    examples=("corkage move-price pro_monthly pro_monthly_2027 --days 60",),
)
IMPORT = command(
    "import",
    "import_.import_",
    "Move users in: give Stripe's customers to them, silently.",
    Argument(["file"], metavar="[MAP.CSV]", type=FILE, required=False),
    Option(["--dry-run"], is_flag=True, help="Look at all of it, and change nothing."),
    Option(["--force"], is_flag=True, help="Also take customers from other users and apps."),
    Option(["--propose"], metavar="EMAILS.CSV", type=FILE, help="Print a map by e-mail, to look at; link nothing."),
    Option(["--granted"], metavar="GRANTS.CSV", type=FILE, help="Give what another provider gives, until it ends."),
    Option(["--provider"], metavar="NAME", type=NAME, default="import", show_default=True, help="Who gives that."),
    Option(["--revoke-missing"], is_flag=True, help="End grants of that provider that the file does not have."),
    YES,
    JSON,
    exactly_one=("file", "propose", "granted"),
    examples=(
        "corkage import map.csv --dry-run",
        "corkage import --propose emails.csv > map.csv",
        "corkage import --granted paddle.csv --provider paddle",
    ),
)
DOCTOR = command(
    "doctor",
    "doctor.examine",
    "Look at everything, and print what mends what is wrong.",
    JSON,
    Option(["--all", "shows_all"], is_flag=True, help="Of each check all that it found, not the first ten."),
    examples=("corkage doctor", "corkage doctor --json"),
)
MOVE_DATABASE = command(
    "move-database",
    "database.move_database.move",
    "Move all of it to PostgreSQL, or back to a file; while serving.",
    Argument(["target"], type=TEXT, metavar="URL"),
    examples=("corkage move-database -", "corkage move-database /var/lib/corkage/corkage.db"),
)
BACKUP = command(
    "backup",
    "database.backup.backup",
    "Copy the database into a file, while it is in use, and read the copy back.",
    Argument(["file"], type=FILE),
    Option(["--force"], is_flag=True, help="Overwrite what is no older backup of this database, too."),
    JSON,
    examples=("corkage backup /var/backups/corkage.db",),
)
RESTORE = command(
    "restore",
    "database.restore.restore",
    "Put a backup in the database's place; what was there is kept beside it.",
    Argument(["file"], type=FILE),
    YES,
    examples=("corkage restore /var/backups/corkage.db",),
)
COMMANDS = (DOCTOR, SYNC, IMPORT, BACKUP, RESTORE, EVENTS, NOTICES, STATS, MOVE_PRICE, MOVE_DATABASE)
