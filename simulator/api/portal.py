"""The customer portal: its configurations, and sessions with the hosted page's URL."""

from typing import Any

from ..billing import periods
from ..errors import ApiError, invalid, missing, missing_parameter
from ..http import form, lists
from ..http.form import boolean, choice, integer, list_of, metadata, nested, optional, text
from ..http.route import Route, retrieve_route
from ..world import Object, World
from .customers import get_customer
from .reading.included import portal_products
from .subscriptions import FEEDBACKS

SESSIONS = "/v1/billing_portal/sessions"
CONFIGURATIONS = "/v1/billing_portal/configurations"
FLOWS = ("payment_method_update", "subscription_cancel", "subscription_update", "subscription_update_confirm")


def create_portal_session(world: World, params: dict[str, Any]) -> Object:
    customer = get_customer(world, params["customer"])
    configuration = _configuration(world, params.get("configuration"))
    flow = _flow(world, params["flow_data"], customer, configuration) if "flow_data" in params else None
    session_id = world.new_id("billing_portal.session")
    session = {
        "id": session_id,
        "object": "billing_portal.session",
        "configuration": configuration["id"],
        "created": world.now,
        "customer": customer["id"],
        "customer_account": None,
        "flow": flow,
        "livemode": False,
        "locale": None,
        "on_behalf_of": None,
        "return_url": params.get("return_url"),
        "url": f"{world.base_url}/p/session/{session_id}",
    }
    world.add("billing_portal.session", session)
    world.emit("billing_portal.session.created", session)
    return session


def create_configuration(world: World, params: dict[str, Any]) -> Object:
    configuration = _blank_configuration(world, is_default=False)
    _set_features(world, configuration, params.get("features", {}))
    _apply(configuration, params)
    world.add("billing_portal.configuration", configuration)
    world.emit("billing_portal.configuration.created", configuration)
    return configuration


def update_configuration(world: World, params: dict[str, Any], configuration_id: str) -> Object:
    configuration = world.get("billing_portal.configuration", configuration_id)
    with world.changing(configuration, "billing_portal.configuration.updated"):
        _set_features(world, configuration, params.get("features", {}))
        _apply(configuration, params)
        configuration["updated"] = world.now
    return configuration


def _apply(configuration: Object, params: dict[str, Any]) -> None:
    configuration["business_profile"] = configuration["business_profile"] | params.get("business_profile", {})
    configuration["metadata"] = form.merge_metadata(configuration["metadata"], params.get("metadata"))
    for name in ("active", "default_return_url", "name"):
        if name in params:
            configuration[name] = params[name]


def list_configurations(world: World, params: dict[str, Any]) -> Object:
    if world.rules.portal_is_saved:
        _default_configuration(world)
    fields = {name: params[name] for name in ("active", "is_default") if name in params}
    return lists.page(world.where("billing_portal.configuration", **fields), params, CONFIGURATIONS)


def allowed_prices(world: World, configuration: Object) -> list[str]:
    """Return the prices a customer can change to: the configured ones, or every active recurring price."""
    feature = configuration["features"]["subscription_update"]
    if not feature["enabled"]:
        return []
    if products := portal_products(world, configuration):
        return [price for product in products for price in product["prices"]]
    return [price["id"] for price in reversed(world.where("price", active=True)) if price["recurring"]]


def _configuration(world: World, configuration_id: str | None) -> Object:
    if configuration_id:
        found = world.get("billing_portal.configuration", configuration_id, "configuration")
        if not found["active"]:
            raise invalid(f"The configuration {configuration_id} is not active.", "configuration")
        return found
    if not world.rules.portal_is_saved:
        raise ApiError(400, NOT_SAVED, is_replayed=False)
    return _default_configuration(world)


def _default_configuration(world: World) -> Object:
    """Return the portal's settings in the Dashboard."""
    for each in world.where("billing_portal.configuration", is_default=True):
        return each
    return world.add("billing_portal.configuration", _blank_configuration(world, is_default=True))


NOT_SAVED = (
    "No configuration provided and your test mode default configuration has not been created. Provide a configuration "
    "or create your default by saving your customer portal settings in test mode at "
    "https://dashboard.stripe.com/test/settings/billing/portal. (In the simulator: the rule portal_is_saved.)"
)


def _flow(world: World, given: dict[str, Any], customer: Object, configuration: Object) -> Object:
    kind = given.get("type")
    if kind is None:
        raise missing_parameter("flow_data[type]")
    flow: Object = dict.fromkeys(("subscription_cancel", "subscription_update", "subscription_update_confirm"))
    flow |= {"type": kind, "after_completion": _after_completion(given.get("after_completion", {}))}
    feature = kind.removesuffix("_confirm")
    settings = configuration["features"][feature]
    if not settings["enabled"] or not settings.get("default_allowed_updates", True):
        words = feature.replace("_", " ")
        raise invalid(f"The {words} feature is disabled in the portal configuration.", "flow_data[type]")
    if kind == "payment_method_update":
        return flow
    if kind not in given:
        raise missing_parameter(f"flow_data[{kind}]")
    asked = given[kind]
    subscription = _changeable(world, asked.get("subscription", ""), customer, kind)
    if kind == "subscription_update_confirm":
        _check_wanted(world, asked, subscription, configuration)
        asked = {"discounts": None} | asked
    flow[kind] = {"retention": None} | asked if kind == "subscription_cancel" else asked
    return flow


def _changeable(world: World, subscription_id: str, customer: Object, kind: str) -> Object:
    param = f"flow_data[{kind}][subscription]"
    subscription = world.get("subscription", subscription_id, param)
    if subscription["customer"] != customer["id"]:
        raise missing("subscription", subscription_id, param)
    if subscription["status"] in periods.ENDED:
        raise invalid("This subscription is canceled and cannot be changed.", param)
    if subscription["cancel_at"] is not None:
        raise invalid("This subscription is already set to be canceled.", param)
    if kind.startswith("subscription_update"):
        _check_updatable(world, subscription, param)
    return subscription


def _check_updatable(world: World, subscription: Object, param: str) -> None:
    """Refuse what the portal's pages do not update. A schedule that has reached its last phase is no obstacle."""
    schedule = world.find("subscription_schedule", subscription["schedule"])
    if len(subscription["items"]["data"]) > 1:
        raise invalid("This subscription cannot be updated because it has multiple items.", param)
    if schedule and any(each["start_date"] > world.now for each in schedule["phases"]):
        raise invalid("This subscription cannot be updated because it has scheduled updates.", param)


def _check_wanted(world: World, asked: dict[str, Any], subscription: Object, configuration: Object) -> None:
    param = "flow_data[subscription_update_confirm][items]"
    if len(asked.get("items", [])) != 1:
        raise missing_parameter(param)
    (wanted,) = asked["items"]
    if wanted.get("id") != subscription["items"]["data"][0]["id"]:
        raise missing("subscription_item", wanted.get("id", ""), param)
    if wanted.get("price") not in allowed_prices(world, configuration):
        raise invalid("The price is not in the portal configuration's products, or is not active.", param)
    allowed = configuration["features"]["subscription_update"]["default_allowed_updates"]
    item = subscription["items"]["data"][0]
    for name, now in (("price", item["price"]["id"]), ("quantity", item.get("quantity"))):
        if wanted.get(name, now) != now and name not in allowed:
            raise invalid(f"The portal configuration does not allow updates of the {name}.", param)
    if wanted.get("quantity", item.get("quantity")) != item.get("quantity"):
        _check_quantity(world, configuration, wanted, param)


def _check_quantity(world: World, configuration: Object, wanted: dict[str, Any], param: str) -> None:
    for product in portal_products(world, configuration):
        limits, quantity = product["adjustable_quantity"], wanted["quantity"]
        is_within = limits["minimum"] <= quantity <= (limits["maximum"] or quantity)
        if wanted["price"] in product["prices"] and not (limits["enabled"] and is_within):
            raise invalid(f"The quantity {quantity} is not within the portal configuration's limits.", param)


def _after_completion(given: dict[str, Any]) -> Object:
    return {"hosted_confirmation": None, "redirect": None, "type": "portal_homepage"} | given


def _set_features(world: World, configuration: Object, given: dict[str, Any]) -> None:
    for name, settings in given.items():
        if settings == "":
            raise ApiError(400, f"Invalid object for features[{name}]", param=f"features[{name}]")
        if "products" in settings:
            products = settings.pop("products") or []
            _check_products(world, products)
            world.hidden[configuration["id"]] = {"products": list(map(_with_quantity, products))}
        configuration["features"][name] |= {key: [] if value is None else value for key, value in settings.items()}
    update = configuration["features"]["subscription_update"]
    if update["enabled"] and not configuration["is_default"]:
        _check_update(world, configuration, update)


def _check_update(world: World, configuration: Object, update: Object) -> None:
    if not portal_products(world, configuration):
        raise missing_parameter("features[subscription_update][products]")
    if not update["default_allowed_updates"]:
        raise missing_parameter("features[subscription_update][default_allowed_updates]")


def _with_quantity(product: dict[str, Any]) -> Object:
    """Return a product as it is shown. Its quantity may be adjusted unless it is said that it may not."""
    given = {"enabled": True, "maximum": None, "minimum": 1} | product.get("adjustable_quantity", {})
    return product | {"adjustable_quantity": given}


def _check_products(world: World, products: list[dict[str, Any]]) -> None:
    """Refuse what no customer could be offered."""
    param = "features[subscription_update][products]"
    if len(products) > MOST_PRODUCTS:
        raise invalid(f"You can give at most {MOST_PRODUCTS} products.", param)
    for each in products:
        world.get("product", each.get("product", ""), param)
        prices = [world.get("price", price_id, param) for price_id in each.get("prices", ())]
        for price in prices:
            if price["product"] != each["product"] or not price["recurring"] or not price["active"]:
                raise invalid(f"The price {price['id']} is not an active recurring price of {each['product']}.", param)
            if price["recurring"]["usage_type"] == "metered":
                raise invalid(f"The price {price['id']} is metered, and cannot be changed to in the portal.", param)
        every = [
            (each["recurring"]["interval"], each["recurring"]["interval_count"], each["currency"]) for each in prices
        ]
        if len(set(every)) < len(every):
            raise invalid(f"Prices of {each['product']} have the same interval: it must be unique in a product.", param)


def _blank_configuration(world: World, is_default: bool) -> Object:
    reasons = {"enabled": False, "options": []}
    return {
        "id": world.new_id("billing_portal.configuration"),
        "object": "billing_portal.configuration",
        "active": True,
        "application": None,
        "business_profile": {"headline": None, "privacy_policy_url": None, "terms_of_service_url": None},
        "created": world.now,
        "default_return_url": None,
        "features": {
            "customer_update": {"allowed_updates": [], "enabled": False},
            "invoice_history": {"enabled": True},
            "payment_method_update": {"enabled": True, "payment_method_configuration": None},
            "subscription_cancel": {
                "cancellation_reason": reasons,
                "enabled": True,
                "mode": "at_period_end",
                "proration_behavior": "none",
            },
            "subscription_pause": {"duration": {"interval_options": [], "type": "indefinite"}, "enabled": False},
            "subscription_update": {
                "billing_cycle_anchor": None,
                "default_allowed_updates": ["price"] if is_default else [],
                "enabled": is_default,
                # The Dashboard's default for an account's own portal; configurations made over the API prorate nothing.
                "proration_behavior": "create_prorations" if is_default else "none",
                "schedule_at_period_end": {"conditions": []},
                "trial_update_behavior": "end_trial",
            },
        },
        "is_default": is_default,
        "livemode": False,
        "login_page": {"enabled": False, "url": None},
        "metadata": {},
        "name": None,
        "updated": world.now,
    }


MOST_PRODUCTS = 10
CUSTOMER_UPDATES = ("address", "email", "name", "phone", "shipping", "tax_id")
PRORATION = choice("always_invoice", "create_prorations", "none")
PRODUCT = {
    "adjustable_quantity": nested({"enabled": boolean, "maximum": integer, "minimum": integer}),
    "prices": list_of(text),
    "product": text,
}
FEATURES = {
    "customer_update": nested({"allowed_updates": list_of(choice(*CUSTOMER_UPDATES)), "enabled": boolean}),
    "invoice_history": nested({"enabled": boolean}),
    "payment_method_update": nested({"enabled": boolean}),
    "subscription_cancel": nested(
        {
            "cancellation_reason": nested({"enabled": boolean, "options": list_of(choice(*FEEDBACKS))}),
            "enabled": boolean,
            "mode": choice("at_period_end", "immediately"),
            "proration_behavior": PRORATION,
        }
    ),
    "subscription_update": nested(
        {
            "default_allowed_updates": optional(list_of(choice("price", "promotion_code", "quantity"))),
            "enabled": boolean,
            "billing_cycle_anchor": choice("now", "unchanged"),
            "products": optional(list_of(nested(PRODUCT))),
            "proration_behavior": PRORATION,
            "schedule_at_period_end": nested(
                {"conditions": list_of(nested({"type": choice("decreasing_item_amount", "shortening_interval")}))}
            ),
            "trial_update_behavior": choice("continue_trial", "end_trial"),
        }
    ),
}
ITEM = nested({"id": text, "price": text, "quantity": integer})
DISCOUNTS = list_of(nested({"coupon": text, "promotion_code": text}))
FLOW = {
    "after_completion": nested(
        {
            "hosted_confirmation": nested({"custom_message": text}),
            "redirect": nested({"return_url": text}),
            "type": choice("hosted_confirmation", "portal_homepage", "redirect"),
        }
    ),
    "subscription_cancel": nested({"subscription": text}),
    "subscription_update": nested({"subscription": text}),
    "subscription_update_confirm": nested({"subscription": text, "items": list_of(ITEM), "discounts": DISCOUNTS}),
    "type": choice(*FLOWS),
}
CONFIGURATION = {
    "business_profile": nested(
        {"headline": optional(text), "privacy_policy_url": optional(text), "terms_of_service_url": optional(text)}
    ),
    "default_return_url": optional(text),
    "features": nested(FEATURES),
    "metadata": metadata,
    "name": optional(text),
}

ROUTES = (
    Route(
        "POST",
        SESSIONS,
        create_portal_session,
        {"configuration": text, "customer": text, "flow_data": nested(FLOW), "return_url": text},
        required=("customer",),
    ),
    Route(
        "POST",
        CONFIGURATIONS,
        create_configuration,
        CONFIGURATION,
        ("features",),
    ),
    retrieve_route("billing_portal.configuration", CONFIGURATIONS),
    Route("POST", f"{CONFIGURATIONS}/<id>", update_configuration, CONFIGURATION | {"active": boolean}),
    Route(
        "GET",
        CONFIGURATIONS,
        list_configurations,
        form.LIST | {"active": boolean, "is_default": boolean},
    ),
)
