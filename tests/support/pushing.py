"""`corkage push` without a database: the same steps, from a plans.toml and a simulated Stripe."""

from dataclasses import replace

from harness import APP, sdk

from corkage.config import Config
from corkage.gateway.gateway import Gateway
from corkage.plans import read_plans
from corkage.setup import push
from corkage.setup.difference import STAGES, difference
from corkage.setup.found import find

URL = "http://127.0.0.1:9/billing"  # nobody listens there
ONE = '[pro]\nprices = [{ lookup_key = "pro_monthly", unit_amount = 900, currency = "usd", interval = "month" }]\n'
TWO = """
[pro]
prices = [
  { lookup_key = "pro_monthly", unit_amount = 900, currency = "usd", interval = "month" },
  { lookup_key = "pro_yearly", unit_amount = 9000, currency = "usd", interval = "year" },
]
"""


class CutOff(Exception):
    """The process was killed."""


class Pushed:
    """A product whose plans are pushed. `secrets` are those of endpoints, as they stand on disk."""

    def __init__(self, simulator, folder):
        self.simulator, self.folder, self.secrets = simulator, folder, []
        self.gateway = Gateway(simulator.api_key, simulator.url)
        self.calls = []
        self.settings = {}
        self.write(TWO)

    def write(self, plans):
        (self.folder / "plans.toml").write_text(plans)
        return self

    @property
    def config(self):
        plain = Config(
            stripe_secret_key=self.simulator.api_key,
            stripe_api_base=self.simulator.url,
            frontend_urls=(f"https://{APP}",),
            billing_url=URL,
            app=APP,
            plans=read_plans(self.folder / "plans.toml"),
            webhook_secrets=tuple(self.secrets),
        )
        return replace(plain, **self.settings)

    def steps(self, **options):
        return difference(self.config, find(self.gateway, self.config), **options)

    def says(self, **options):
        """What differs, in short: stage, name, and what is done or why it is not."""
        return [(each.stage, each.name, each.refused or each.what) for each in self.steps(**options)]

    def push(self, cut_at=None, **options):
        """Push everything that is not refused; with `cut_at`, be killed after that many calls that change something."""
        original, made = self.gateway.set_up, []

        def counted(*arguments):
            if cut_at is not None and len(made) == cut_at:
                raise CutOff
            made.append(arguments[:2])
            return original(*arguments)

        self.gateway.set_up = counted
        try:
            push.make(self.gateway, self.config, STAGES, lambda secret: self.secrets.insert(0, secret), **options)
        finally:
            self.gateway.set_up = original
        return made

    def price(self, lookup_key):
        (found,) = self.simulator.world.where("price", lookup_key=lookup_key)
        return found

    def all(self, kind):
        return self.simulator.world.all(kind)

    def portal(self):
        """The configuration that push made, as the simulator holds it, and its products."""
        (found,) = [each for each in self.all("billing_portal.configuration") if not each["is_default"]]
        return found, self.simulator.world.hidden[found["id"]]["products"]

    def endpoint(self):
        (found,) = self.all("webhook_endpoint")
        return found

    def subscribe(self, lookup_key="pro_monthly"):
        """Push, and have somebody subscribe."""
        self.push()
        card = {"payment_method": "pm_card_visa", "invoice_settings": {"default_payment_method": "pm_card_visa"}}
        customer = sdk(self.simulator).v1.customers.create(params=card)
        items = [{"price": self.price(lookup_key)["id"]}]
        return sdk(self.simulator).v1.subscriptions.create(params={"customer": customer.id, "items": items}).id
