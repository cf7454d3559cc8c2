"""`corkage push`: make Stripe as the settings and plans.toml want it, stage by stage.

Each stage looks at Stripe again. So a push that was cut off, at whatever call, goes on when it is run again.
"""

from collections.abc import Callable, Collection
from dataclasses import replace

from .. import storage
from ..config import Config, Secret
from ..gateway.gateway import Gateway
from ..models import PORTAL, Setting, store_setting
from ..sync.endpoint import SECRET, fingerprint
from .difference import STAGES, difference
from .found import find, find_portals
from .portal import portal_of
from .step import Step

KeepSecret = Callable[[str], None]


def make(
    gateway: Gateway,
    config: Config,
    stages: Collection[str],
    keep_secret: KeepSecret,
    *,
    overwrite: bool = False,
    archive: bool = False,
) -> Config:
    """Do what is not refused; return the configuration, with the endpoint's new secret where one was made.

    Shape   stages: those in which something differs; keep_secret: stores the secret, and returns once it is on disk
    Errors  StripeError as the gateway's; what keep_secret raises
    """
    for stage in STAGES:
        if stage not in stages:
            continue
        found = find(gateway, config)
        for step in difference(config, found, overwrite=overwrite, archive=archive):
            if step.stage == stage and not step.refused:
                config = make_step(gateway, config, step, keep_secret)
    return config


def make_step(gateway: Gateway, config: Config, step: Step, keep_secret: KeepSecret) -> Config:
    """Make the calls of a step; return the configuration, with the endpoint's secret where one was made.

    Errors  as make()
    """
    first, *rest = step.calls
    made = gateway.set_up(first.method, first.path, dict(first.params), first.key)
    if step.has_secret:
        keep_secret(made["secret"])
        config = replace(config, webhook_secrets=(Secret(made["secret"]), *config.webhook_secrets))
        known = {"metadata": {SECRET: fingerprint(made["secret"])}}
        gateway.set_up("post", f"/v1/webhook_endpoints/{made['id']}", known)
    for call in rest:
        gateway.set_up(call.method, call.path, dict(call.params), call.key)
    return config


def remember_portal(gateway: Gateway, config: Config) -> None:
    """Have portal sessions opened with the configuration that push made, or with the account's default where there is
    none.

    Errors  StripeError as the gateway's; DatabaseUnavailable
    """
    found = portal_of(config.app, find_portals(gateway))
    with storage.writing():
        if found and found["active"]:
            store_setting(PORTAL, found["id"])
        else:
            Setting.delete().where(Setting.name == PORTAL).execute()
