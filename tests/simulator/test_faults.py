"""Faults of the API on demand: what stripe-python raises, and which requests were executed."""

import time
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime

import pytest
import requests
import stripe
from harness import sdk, until

from corkage.gateway import client as client_module
from corkage.gateway.gateway import Gateway
from corkage.simulator import ApiFaults, Simulator
from corkage.simulator.http.faults import FaultInjector

pytestmark = pytest.mark.slow


def names(simulator):
    return sorted(each["name"] for each in simulator.world.all("customer"))


def create(client, name="Ann", key=None):
    return client.v1.customers.create(params={"name": name}, options={"idempotency_key": key} if key else None)


def patient(simulator, seconds):
    return stripe.StripeClient(
        simulator.api_key,
        base_addresses={"api": simulator.url},
        http_client=stripe.RequestsClient(timeout=seconds),
    )


@pytest.mark.parametrize(
    ("failure", "raised", "carried_out"),
    [
        ("rate_limit", stripe.RateLimitError, []),
        ("error", stripe.APIError, []),
        ("error_after", stripe.APIError, ["Ann"]),
        ("cut", stripe.APIConnectionError, []),
        ("cut_after", stripe.APIConnectionError, ["Ann"]),
        ("cut_within", stripe.APIConnectionError, ["Ann"]),
    ],
)
def test_the_sdk_raises_each_failure_and_only_after_ones_execute(simulator, client, failure, raised, carried_out):
    simulator.api_faults = ApiFaults(failure=failure, requests=1)

    with pytest.raises(raised) as error:
        create(client)

    assert type(error.value) is raised
    assert names(simulator) == carried_out
    assert create(client, "Bob").name == "Bob"
    assert names(simulator) == [*carried_out, "Bob"]


def test_a_rate_limit_is_answered_in_stripes_shape(simulator, client):
    simulator.api_faults.failure = "rate_limit"

    with pytest.raises(stripe.RateLimitError) as error:
        create(client)

    assert error.value.http_status == 429
    assert error.value.json_body["error"]["code"] == "rate_limit"
    assert error.value.json_body["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(("failure", "carried_out"), [("error", []), ("error_after", ["Ann"])])
def test_a_500_is_replayed_for_its_key_and_not_for_a_new_key(simulator, client, failure, carried_out):
    simulator.api_faults = ApiFaults(failure=failure, requests=1)
    for _ in range(2):
        with pytest.raises(stripe.APIError):
            create(client, key="first")

    assert names(simulator) == carried_out
    create(client, key="second")
    assert names(simulator) == [*carried_out, "Ann"]


@pytest.mark.parametrize("failure", ["cut_after", "cut_within"])
def test_after_a_cut_the_same_key_fetches_the_response(simulator, client, failure):
    simulator.api_faults = ApiFaults(failure=failure, requests=1)
    with pytest.raises(stripe.APIConnectionError):
        create(client, key="first")

    (made,) = simulator.world.all("customer")
    assert create(client, key="first").id == made["id"]
    assert names(simulator) == ["Ann"]


def test_a_response_can_be_cut_in_the_middle(simulator):
    simulator.api_faults.failure = "cut_within"
    url, headers = f"{simulator.url}/v1/customers", {"Authorization": "Bearer sk_test_x"}

    with requests.get(url, headers=headers, stream=True, timeout=30) as answer:
        assert answer.status_code == 200
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            assert not answer.content


def test_a_hanging_request_times_out_and_is_not_executed(simulator, client):
    simulator.api_faults.failure = "hang"

    with pytest.raises(stripe.APIConnectionError, match="timeout"):
        create(patient(simulator, 0.2))

    simulator.api_faults = ApiFaults()
    assert create(client, "Bob").name == "Bob"
    assert names(simulator) == ["Bob"]
    assert [each.status for each in simulator.requests] == [0, 200]


def test_hanging_requests_free_their_threads_when_their_clients_go(simulator):
    simulator.api_faults = ApiFaults(failure="hang", path="/v1/customers")
    with ThreadPoolExecutor(20) as pool:
        errors = list(pool.map(lambda _: create_or_error(patient(simulator, 0.3)), range(20)))

    assert set(errors) == {stripe.APIConnectionError}
    assert patient(simulator, 20).v1.products.list().data == []
    assert names(simulator) == []


def create_or_error(client):
    try:
        return create(client)
    except stripe.StripeError as error:
        return type(error)


def test_stopping_releases_hanging_requests():
    with Simulator() as simulator, ThreadPoolExecutor(1) as pool:
        simulator.api_faults.failure = "hang"
        hanging = pool.submit(create_or_error, patient(simulator, 25))
        until(lambda: simulator.requests)
        simulator.stop()

        assert hanging.result(timeout=20) is stripe.APIConnectionError


def test_a_slow_request_does_not_delay_others(simulator, client):
    simulator.api_faults = ApiFaults(latency_seconds=25, requests=1)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(create_or_error, sdk(simulator))
        until(lambda: simulator.api_faults.requests == 0)

        assert create(client, "Bob").name == "Bob"
        assert not slow.done()
        simulator._fault_injector.stopped.set()
        assert slow.result(timeout=20).name == "Ann"


def test_faults_hit_only_their_path_and_number_of_requests(simulator, client):
    simulator.api_faults = ApiFaults(failure="error", path="/v1/products", requests=2)

    create(client)
    for _ in range(2):
        with pytest.raises(stripe.APIError):
            client.v1.products.list()
    assert client.v1.products.list().data == []
    assert simulator.api_faults.requests == 0


def test_a_share_of_requests_fails_the_same_ones_with_the_same_seed():
    def outcomes(seed):
        injector = FaultInjector(seed)
        injector.faults = ApiFaults(failure="error", share=0.3)
        return [injector.failure_for("/v1/customers", 0.0) for _ in range(1000)]

    assert outcomes(7) == outcomes(7) != outcomes(8)
    assert 200 < outcomes(7).count("error") < 400


def test_faults_do_not_change_the_ids_of_a_seeded_world():
    def second_id(faults):
        with Simulator(seed=7) as simulator:
            create(sdk(simulator))
            simulator.api_faults = faults
            return create(sdk(simulator)).id

    assert second_id(ApiFaults()) == second_id(ApiFaults(latency_seconds=0.001, share=0.5))


def test_the_rate_limit_counts_the_last_second_and_no_more():
    injector = FaultInjector(None)
    injector.faults = ApiFaults(requests_per_second=25)

    first = [injector.failure_for("/v1/customers", 100.0) for _ in range(26)]

    assert first == ["none"] * 25 + ["rate_limit"]
    assert injector.failure_for("/v1/customers", 100.99) == "rate_limit"
    assert injector.failure_for("/v1/customers", 101.0) == "none"
    assert injector.failure_for("/elsewhere", 100.99) == "none"


def test_requests_per_second_refuses_a_burst(simulator):
    simulator.api_faults.requests_per_second = 1
    clients = [sdk(simulator) for _ in range(20)]
    with ThreadPoolExecutor(20) as pool:
        outcomes = list(pool.map(create_or_error, clients))

    refused = outcomes.count(stripe.RateLimitError)
    assert refused >= 1
    assert len(names(simulator)) == 20 - refused


def test_a_lagging_list_omits_new_objects_that_their_id_finds(simulator, client):
    old = create(client, "Old").id
    simulator.advance(3600)
    simulator.api_faults.list_lag_seconds = 60
    new = create(client, "New").id

    assert [each.id for each in client.v1.customers.list().data] == [old]
    assert client.v1.customers.retrieve(new).name == "New"
    assert "customer.created" in [each["type"] for each in simulator.world.all("event")]
    assert new not in str(client.v1.events.list())
    simulator.advance(61)
    assert [each.id for each in client.v1.customers.list().data] == [new, old]


def test_a_revoked_key_is_refused_and_others_are_not(simulator, client):
    simulator.api_faults.revoked_keys = ("sk_test_old",)
    old = stripe.StripeClient("sk_test_old", base_addresses={"api": simulator.url})

    with pytest.raises(stripe.AuthenticationError) as refused:
        old.v1.customers.list()

    assert (refused.value.http_status, refused.value.error.code) == (401, "api_key_expired")
    assert client.v1.customers.list().data == []


def test_the_date_of_responses_is_ahead_and_the_world_is_not(simulator, client):
    simulator.api_faults.date_ahead_seconds = 3600

    made = client.v1.customers.create(params={})

    date = parsedate_to_datetime(made.last_response.headers["Date"]).timestamp()
    assert 3590 < date - time.time() < 3610
    assert made.last_response.headers["Server"] == "nginx"
    assert abs(made.created - time.time()) < 10


def test_a_restricted_key_may_only_what_is_permitted(simulator, client):
    simulator.api_faults.restricted_key_may = ("customer_write", "product_read")
    restricted = stripe.StripeClient("rk_test_restricted", base_addresses={"api": simulator.url})

    assert create(restricted).name == "Ann"
    assert restricted.v1.customers.list().data
    assert restricted.v1.products.list().data == []
    for call, permission in (
        (restricted.v1.accounts.retrieve_current, "rak_accounts_kyc_basic_read"),
        (lambda: restricted.v1.products.create(params={"name": "Pro"}), "rak_product_write"),
        (restricted.v1.prices.list, "rak_plan_read"),
        (lambda: restricted.v1.subscriptions.retrieve("sub_1"), "rak_subscription_read"),
    ):
        with pytest.raises(stripe.PermissionError, match=f"Having the '{permission}' permission") as error:
            call()
        assert error.value.http_status == 403
        assert "rk_test_restricted" not in str(error.value)
    assert simulator.world.all("product") == []
    assert client.v1.accounts.retrieve_current().id


def test_a_restricted_key_without_permissions_set_may_do_everything(simulator):
    restricted = stripe.StripeClient("rk_test_restricted", base_addresses={"api": simulator.url})

    assert restricted.v1.accounts.retrieve_current().id


def test_a_share_above_one_or_below_zero_is_refused():
    with pytest.raises(ValueError, match="share must be from 0 to 1"):
        ApiFaults(share=1.5)


def test_faults_do_not_hit_the_hosted_pages(simulator, shop):
    session = shop.client.v1.checkout.sessions.create(
        params={
            "mode": "subscription",
            "line_items": [{"price": shop.price, "quantity": 1}],
            "success_url": "https://app.example.com/",
        }
    )
    simulator.api_faults.failure = "error"

    assert requests.get(session.url, timeout=30).status_code == 200


def test_the_gateway_retries_through_a_few_cuts(simulator, shop, monkeypatch):
    monkeypatch.setattr(client_module, "RETRIES", 2)
    monkeypatch.setattr(stripe.HTTPClient, "INITIAL_DELAY", 0.01)
    customer = shop.customer()
    shop.subscribe(customer)
    simulator.api_faults = ApiFaults(failure="cut", path="/v1/subscriptions", requests=2)

    held = Gateway(simulator.api_key, simulator.url).subscriptions_of(customer)

    assert [each.status for each in held.items] == ["active"]
    assert shop.calls() == 3
