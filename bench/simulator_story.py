"""The simulator: its start, and the story of a subscription that is made, renewed, declined and canceled."""

import http.client
import json
import statistics
import subprocess
import sys
import time
from urllib.parse import urlencode

from results import Result, alternating, at_most

from corkage.simulator import Simulator

BARE = """
import time
print(time.process_time())
"""
START = """
from corkage.simulator import Simulator
with Simulator():
    import time
    print(time.process_time())
"""


def measure(quick: bool) -> Result:
    result = Result("The offline Stripe")
    seconds = statistics.median(ours - bare for bare, ours in alternating(lambda: _cpu(BARE), lambda: _cpu(START)))
    result.lines.append(at_most("import and start, over bare Python: CPU", f"{seconds:.2f} s", seconds, 0.3, "s"))
    milliseconds = statistics.median(_story() for _ in range(20 if quick else 100)) * 1000
    result.lines.append(
        at_most(
            "subscribe, renew, decline, cancel: CPU of simulator and client",
            f"{milliseconds:.0f} ms",
            milliseconds,
            30,
            "ms",
        )
    )
    return result


def _cpu(code: str) -> float:
    return float(subprocess.check_output([sys.executable, "-c", code]))


def _story() -> float:
    """Return the seconds of CPU that the story takes over HTTP, in a world of its own."""
    with Simulator(seed=1) as simulator:
        price = simulator.add_price("gold", 900)["id"]
        began = time.process_time()
        client = _Client(simulator)
        customer = client.call("POST", "customers", payment_method="pm_card_visa")["id"]
        made = {"customer": customer, "items[0][price]": price, "default_payment_method": "pm_card_visa"}
        subscription = client.call("POST", "subscriptions", **made)["id"]
        simulator.advance_to("renewal")
        client.call("POST", f"subscriptions/{subscription}", default_payment_method="pm_card_chargeCustomerFail")
        simulator.advance_to("renewal")
        assert client.call("GET", f"subscriptions/{subscription}")["status"] == "past_due"
        assert client.call("DELETE", f"subscriptions/{subscription}")["status"] == "canceled"
        seconds = time.process_time() - began
        time.sleep(0.02)  # waitress's thread is still busy with the last answer
        return seconds


class _Client:
    """Calls the API over one connection: what the story costs is nearly all the simulator's."""

    def __init__(self, simulator: Simulator) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", int(simulator.url.rpartition(":")[2]))

    def call(self, method: str, path: str, **params: str) -> dict:
        headers = {"Authorization": "Bearer sk_test_x", "Content-Type": "application/x-www-form-urlencoded"}
        self._connection.request(method, f"/v1/{path}", urlencode(params), headers)
        return json.loads(self._connection.getresponse().read())
