"""Commands that set up: the first settings, and what is sold at Stripe."""

from click import Option

from .command import JSON, YES, command
from .values import TEXT, Parsed, whole_number

LARGEST_AMOUNT = 99_999_999


def _currency(text: str) -> str:
    if not (text.isascii() and text.isalpha() and len(text) == 3):
        raise ValueError(f"wanted three letters, such as usd, not {text!r}")
    return text.lower()


INIT = command(
    "init",
    "init.init",
    "Write the first settings and plans.toml, and make the webhook endpoint.",
    Option(["--key"], type=TEXT, help="Stripe's secret key, or a restricted one; else you are asked."),
    Option(["--frontend-url"], metavar="URL", type=TEXT, help="Your product's address; else you are asked."),
    Option(["--billing-url"], metavar="URL", type=TEXT, help="Corkage's own address, with its path."),
    Option(["--api-base"], metavar="URL", type=TEXT, help="Another Stripe, such as the simulator's address."),
    Option(
        ["--amount"],
        type=Parsed("number", whole_number(0, LARGEST_AMOUNT)),
        default=900,
        show_default=True,
        help="Of the first plan in plans.toml, for a month, in minor units.",
    ),
    Option(["--currency"], type=Parsed("text", _currency), default="usd", show_default=True, help="Its currency."),
    YES,
    examples=(
        "corkage init",
        "corkage init --key sk_test_... --frontend-url https://example.org \\",
        "  --billing-url https://example.org/billing --yes",
    ),
)
PUSH = command(
    "push",
    "push.push",
    "Make Stripe match plans.toml, after a table of what differs.",
    Option(["--dry-run"], is_flag=True, help="Only print what differs; exit status 2 where something does."),
    JSON,
    YES,
    Option(["--live"], is_flag=True, help="Allow changes with a live key."),
    Option(["--overwrite"], is_flag=True, help="Set back what was changed at Stripe by hand since the last push."),
    Option(["--archive"], is_flag=True, help="Archive what plans.toml sells no more; subscribers keep it."),
    examples=("corkage push --dry-run", "corkage push --live --yes"),
)
COMMANDS = (INIT, PUSH)
