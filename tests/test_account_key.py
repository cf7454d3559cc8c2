"""One file mirrors one Stripe account, and of a key that it has seen Stripe is not asked again."""

import time
from dataclasses import replace

import pytest
from elsewhere import everything
from harness import running

from corkage.errors import ConfigError
from corkage.models import remember, setting
from corkage.simulator import ApiFaults


def test_one_database_mirrors_one_stripe_account(app, config):
    app.billing.service.worker.check_account()
    remember("account", "acct_other")
    app.billing.close()
    other = replace(config, stripe_secret_key="sk_test_other")

    with running(other) as again, pytest.raises(ConfigError, match="acct_other"):
        again.billing.service.check_account()
    with running(other) as again, pytest.raises(ConfigError, match="acct_other"):
        again.work()


def test_startup_checks_the_account_of_a_key_once(app, config, shop):
    app.billing.service.check_account()
    app.billing.work()
    app.billing.close()
    asked = shop.calls("/v1/account")
    shop.simulator.api_faults = ApiFaults(failure="hang")

    with running(config) as again:
        again.billing.service.check_account()

    assert (asked, shop.calls("/v1/account")) == (1, 1)


def test_startup_checks_the_account_of_a_new_key(app, config, shop):
    app.billing.service.check_account()
    app.billing.close()

    with running(replace(config, stripe_secret_key="sk_test_other")) as again:
        again.billing.service.check_account()

    assert shop.calls("/v1/account") == 2


def test_startup_rechecks_a_key_that_may_not_read_its_account(config, simulator, shop):
    simulator.api_faults = ApiFaults(restricted_key_may=("subscription_read",))
    restricted = replace(config, stripe_secret_key="rk_test_other")
    for _ in range(2):
        with running(restricted) as app:
            app.billing.service.check_account()
            app.billing.service.check_account()

    assert shop.calls("/v1/account") == 2


def test_a_hanging_stripe_does_not_delay_startup(app, shop, caplog):
    shop.simulator.api_faults = ApiFaults(failure="hang")
    began = time.monotonic()

    app.billing.service.check_account()

    assert time.monotonic() - began < 10  # an ordinary call is tried for half a minute
    assert "will ask again" in caplog.text
    assert setting("account_key") is None


def test_the_database_does_not_hold_the_stripe_key(app, config):
    app.billing.service.check_account()
    app.billing.close()

    written = everything(config.database)
    assert "account_key" in written
    assert config.stripe_secret_key not in written
