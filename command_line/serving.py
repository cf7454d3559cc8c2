"""Commands that serve: the server, the worker, the demo, the offline Stripe, a token to try the routes with."""

from click import Argument, Option

from .command import command
from .values import FILE, PORT, SECONDS, TEXT, THREADS, USER

STANDARD_PORT, DEMO_PORT, SIMULATOR_PORT = 8080, 8000, 12111
LOCAL = "127.0.0.1"

SERVE = command(
    "serve",
    "serving.serve.serve",
    "Answer Stripe's webhooks and your product's questions.",
    Option(["--host"], default=LOCAL, show_default=True, help="Address to listen on."),
    Option(["--port"], type=PORT, default=STANDARD_PORT, show_default=True, help="Port to listen on."),
    Option(["--threads"], type=THREADS, default=16, show_default=True, help="Threads that answer."),
    examples=("corkage serve", "corkage serve --host 0.0.0.0 --port 80"),
)
WORK = command(
    "work",
    "serving.serve.work",
    "Apply pending events, where BILLING_WORKER is off or inline.",
    Option(["--once"], is_flag=True, help="Do what is due and end, for cron."),
    examples=("corkage work --once",),
)
DEMO = command(
    "demo",
    "serving.demo.demo",
    "Try it: a sample product with billing, in your browser.",
    Option(["--port"], type=PORT, default=DEMO_PORT, show_default=True, help="Port to listen on."),
    Option(["--keep"], metavar="FILE", type=FILE, help="Keep the database in this file; else nothing is left behind."),
    examples=("corkage demo", "corkage demo --keep demo.db"),
)
SIMULATOR = command(
    "simulator",
    "serving.simulator.run",
    "Run an offline Stripe to try things against.",
    Option(["--host"], default=LOCAL, show_default=True, help="Address to listen on."),
    Option(["--port"], type=PORT, default=SIMULATOR_PORT, show_default=True, help="Port to listen on."),
    Option(["--webhook"], metavar="URL", help="Deliver every event there, signed with --webhook-secret."),
    Option(["--webhook-secret"], metavar="WHSEC", help="The default: one is made and printed."),
    Option(["--file"], metavar="FILE", type=FILE, help="Keep all of it there, and go on from there; else in memory."),
    Option(["--plans"], metavar="FILE", type=FILE, help="Make the products and prices that this plans.toml names."),
    Option(["--api-version"], metavar="VERSION", help="The account's version; the default is the newest."),
    examples=(
        "corkage simulator --plans plans.toml",
        "corkage simulator --webhook http://127.0.0.1:8080/webhook --webhook-secret whsec_simulated",
    ),
)
TOKEN = command(
    "token",
    "serving.token.mint",
    "Mint a token for a user, to try the routes with.",
    Argument(["user"], type=USER),
    Option(["--email"], type=TEXT, help="The user's e-mail, for Stripe."),
    Option(["--seconds"], type=SECONDS, default=3600, show_default=True, help="How long it is valid."),
    Option(["--server"], is_flag=True, help="A token of your server's, for POST /use."),
    examples=('curl -H "Authorization: Bearer $(corkage token ann)" http://127.0.0.1:8080/access',),
)
COMMANDS = (SERVE, WORK, DEMO, SIMULATOR, TOKEN)
