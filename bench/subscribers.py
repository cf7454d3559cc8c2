"""Customers at the simulated Stripe that subscribe and change, and a replica of them."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import servers

from corkage.simulator import Object, Simulator
from corkage.simulator.api.customers import create_customer
from corkage.simulator.api.subscriptions import create_subscription, update_subscription

LATENCY_SECONDS, LIMIT = 0.15, 25
APP = "app.example.com"


def user_of(number: int) -> str:
    return f"user{number}"


def subscribe(stripe: Simulator, count: int) -> list[str]:
    """Have so many users of ours subscribe; return the ids of their subscriptions."""
    price = stripe.add_price("pro_monthly", 900)["id"]
    held = []
    with stripe.world.lock:
        for number in range(count):
            ours = {"corkage_app": APP, "corkage_user": user_of(number)}
            card = {"default_payment_method": "pm_card_visa"}
            customer = create_customer(stripe.world, {"metadata": ours, "invoice_settings": card})["id"]
            bought = {"customer": customer, "items": [{"price": price}], "metadata": ours}
            held.append(create_subscription(stripe.world, bought)["id"])
    return held


def change(stripe: Simulator, subscriptions: Sequence[str]) -> list[Object]:
    """Have each subscription end with its period, or no longer; return the events of it.

    The next fetch of each customer brings something else than the one before.
    """
    with stripe.world.lock:
        for held in subscriptions:
            ends = not stripe.world.get("subscription", held)["cancel_at_period_end"]
            update_subscription(stripe.world, {"cancel_at_period_end": ends}, held)
        updated = [each for each in stripe.world.all("event") if each["type"] == "customer.subscription.updated"]
    return updated[: len(subscriptions)]


def slow(stripe: Simulator) -> None:
    """Have Stripe take its time for each answer, and refuse more calls than it allows in a sandbox."""
    stripe.api_faults.latency_seconds, stripe.api_faults.requests_per_second = LATENCY_SECONDS, LIMIT


def sync(folder: Path, stripe_url: str, settings: dict[str, str]) -> None:
    """Make a replica of what is at Stripe, in the database that the settings name."""
    (folder / "plans.toml").write_text(servers.PLANS)
    environ = servers.environ_of_corkage(stripe_url) | settings
    command = [sys.executable, "-m", "corkage.cli", "sync"]
    subprocess.run(command, cwd=folder, env=environ, check=True, capture_output=True)
