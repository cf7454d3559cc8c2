"""A small product with stripe-python of any major since 12, as its owner would write it. Prints what it saw.

Run with the simulator's URL, and a folder with stripe-python first on PYTHONPATH.
"""

import json
import queue
import sys
import threading
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer

import stripe

URL = sys.argv[1]
CARD = {"number": "4242424242424242", "expiry": "12/40", "cvc": "123"}
received = queue.Queue()


class Webhook(BaseHTTPRequestHandler):
    def do_POST(self):
        received.put((self.rfile.read(int(self.headers["Content-Length"])), self.headers["Stripe-Signature"]))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


def pay(url):
    """Pay on the hosted page, and return where it sends the visitor."""
    try:
        urllib.request.build_opener(NoRedirect).open(url, urllib.parse.urlencode(CARD).encode(), timeout=30)
    except urllib.error.HTTPError as answer:
        return answer.headers["Location"]
    return None


def period_end(subscription):
    """Return the end of the period, which moved to the items in basil."""
    holder = subscription if "current_period_end" in subscription else subscription["items"].data[0]
    return holder is subscription, holder["current_period_end"]


stripe.enable_telemetry = False
version = stripe.api_version
server = HTTPServer(("127.0.0.1", 0), Webhook)
threading.Thread(target=server.serve_forever, daemon=True).start()
client = stripe.StripeClient("sk_test_story", base_addresses={"api": URL})
v1 = getattr(client, "v1", client)

hook = f"http://127.0.0.1:{server.server_port}/webhook"
endpoint = v1.webhook_endpoints.create({"url": hook, "enabled_events": ["*"], "api_version": version})
product = v1.products.create({"name": "Gold"})
recurring = {"interval": "month"}
price = v1.prices.create({"product": product.id, "currency": "usd", "unit_amount": 900, "recurring": recurring})
customer = v1.customers.create({"email": "ann@example.com", "payment_method": "pm_card_visa"})
subscription = v1.subscriptions.create(
    {
        "customer": customer.id,
        "items": [{"price": price.id}],
        "default_payment_method": "pm_card_visa",
        "expand": ["latest_invoice"],
    }
)
ui_mode = "hosted" if version < "2026-03-25" else "hosted_page"
session = v1.checkout.sessions.create(
    {
        "mode": "subscription",
        "customer": customer.id,
        "line_items": [{"price": price.id, "quantity": 1}],
        "success_url": "https://example.com/back",
        "ui_mode": ui_mode,
    }
)
sent_to = pay(session.url)
session = v1.checkout.sessions.retrieve(session.id)
invoices = list(v1.invoices.list({"customer": customer.id, "limit": 1}).auto_paging_iter())
canceled = v1.subscriptions.cancel(subscription.id)

events = {}
while not {"customer.subscription.deleted", "checkout.session.completed"} <= events.keys():
    body, signature = received.get(timeout=30)
    event = client.construct_event(body, signature, endpoint.secret)
    events[event.type] = event
try:
    client.construct_event(body, signature, "whsec_of_somebody_else")
    refused = False
except stripe.SignatureVerificationError:
    refused = True

is_top, end = period_end(subscription)
was_top, ended = period_end(events["customer.subscription.deleted"].data.object)
sys.stdout.write(
    json.dumps(
        {
            "version": version,
            "statuses": [subscription.status, subscription.latest_invoice.status, session.status, canceled.status],
            "period_is_on_the_subscription": [is_top, was_top],
            "period_ends": [end, ended],
            "paid_subscription": session.subscription,
            "sent_to": sent_to,
            "ui_mode": session.ui_mode,
            "invoices": [[each.total, "parent" in each, "subscription" in each] for each in invoices],
            "event_versions": sorted({event.api_version for event in events.values()}),
            "wrong_secret_is_refused": refused,
        }
    )
)
