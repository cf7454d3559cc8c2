"""The webhook endpoint that `corkage push` makes, its secret, and endpoints of other people."""

import pytest
from pushing import URL

from corkage.gateway.calls import API_VERSION
from corkage.sync.endpoint import endpoint_url

pytestmark = pytest.mark.slow


def names(steps):
    return [(stage, name) for stage, name, _ in steps]


def test_a_deleted_endpoint_is_made_again_and_the_new_secret_kept_first(pushed, client):
    pushed.push()
    client.v1.webhook_endpoints.delete(pushed.endpoint()["id"])

    assert names(pushed.says()) == [("endpoint", f"{URL}/webhook")]
    pushed.push()

    assert pushed.secrets[0] == pushed.endpoint()["secret"] != pushed.secrets[1]
    assert pushed.steps() == []


def test_a_disabled_endpoint_is_enabled_again(pushed, client):
    """Stripe disables one that fails for days: that is nobody's wish."""
    pushed.push()
    client.v1.webhook_endpoints.update(pushed.endpoint()["id"], params={"disabled": True})

    assert pushed.says() == [("endpoint", f"{URL}/webhook", "enable it")]
    pushed.push()
    assert (pushed.endpoint()["status"], pushed.steps()) == ("enabled", [])


def test_an_endpoint_whose_secret_is_set_elsewhere_is_not_taken_from_whoever_has_it(pushed):
    """Such as on the server, while somebody pushes from a laptop."""
    pushed.push()
    kept, pushed.secrets = pushed.endpoint()["id"], []

    (step,) = pushed.steps()
    assert (step.stage, "its secret is not set here" in step.refused) == ("endpoint", True)
    pushed.push()
    assert (pushed.endpoint()["id"], pushed.secrets) == (kept, [])
    pushed.push(overwrite=True)
    assert (pushed.endpoint()["id"] != kept, [pushed.endpoint()["secret"]]) == (True, pushed.secrets)
    assert pushed.steps() == []


def test_an_endpoint_made_by_hand_is_left_alone_where_a_secret_is_set(pushed, client):
    made = client.v1.webhook_endpoints.create(params={"url": f"{URL}/webhook", "enabled_events": ["invoice.paid"]})
    pushed.secrets = [made.secret]

    pushed.push()

    assert pushed.endpoint()["enabled_events"] == ["invoice.paid"]
    assert pushed.steps() == []


def test_an_endpoint_made_by_hand_without_a_secret_here_is_refused(pushed, client):
    client.v1.webhook_endpoints.create(params={"url": f"{URL}/webhook", "enabled_events": ["invoice.paid"]})

    (step,) = [each for each in pushed.steps() if each.stage == "endpoint"]
    assert "push did not make it: set its secret as STRIPE_WEBHOOK_SECRET" in step.refused
    pushed.push()
    assert len(pushed.all("webhook_endpoint")) == 1


def test_a_second_endpoint_at_our_address_is_said_and_disabled_when_told(pushed, client):
    pushed.push()
    second = client.v1.webhook_endpoints.create(params={"url": f"{URL}/webhook", "enabled_events": ["invoice.paid"]})

    (step,) = pushed.steps()
    assert step.refused.startswith(f"{second.id} posts there too, and push did not make it")
    pushed.push(overwrite=True)
    assert {each["id"]: each["status"] for each in pushed.all("webhook_endpoint")}[second.id] == "disabled"
    assert pushed.steps() == []


def test_an_endpoint_of_a_newer_api_version_is_kept_and_one_that_is_too_old_is_made_anew(pushed):
    pushed.push()
    first = pushed.endpoint()
    first["api_version"] = "2025-03-31.basil"
    assert pushed.steps() == []

    first["api_version"] = "2020-08-27"
    pushed.push(overwrite=True)

    assert (pushed.endpoint()["id"] != first["id"], pushed.endpoint()["api_version"]) == (True, API_VERSION)


@pytest.mark.parametrize("url", ["http://localhost:8080", "http://127.0.0.1/billing", "http://10.0.0.5", "http://shop"])
def test_stripe_itself_is_given_no_address_that_it_cannot_reach(pushed, url):
    pushed.settings = {"billing_url": url}
    assert [each for each in pushed.steps() if each.stage == "endpoint"]  # a simulator reaches it

    pushed.settings |= {"stripe_api_base": None}
    assert endpoint_url(pushed.config) is None
