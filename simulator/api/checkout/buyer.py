"""What a Checkout Session asks its visitor beside the payment: address, tax id, custom fields."""

from collections.abc import Mapping
from typing import Any

from ...billing import tax_ids, taxes
from ...errors import ApiError, invalid
from ...http.form import boolean, choice, integer, list_of, nested, optional, text
from ...world import Object, World
from ..customers import update_customer
from .totals import buyer_of

ADDRESS = ("country", "line1", "line2", "city", "state", "postal_code")


def check(world: World, params: Mapping[str, Any]) -> None:
    """Raise ApiError for questions that Stripe does not let a session ask."""
    customer = world.find("customer", params.get("customer"))
    updates = params.get("customer_update", {})
    if updates and not customer:
        raise invalid("`customer_update` can only be used with `customer`.", "customer_update")
    if customer is None:
        return
    asks_tax_id = params.get("tax_id_collection", {}).get("enabled")
    if asks_tax_id and updates.get("name") != "auto":
        raise ApiError(
            400,
            "Tax ID collection requires updating business name on the customer. To enable tax ID collection for an "
            "existing customer, please set `customer_update[name]` to `auto`.",
            is_replayed=False,
        )
    is_automatic = params.get("automatic_tax", {}).get("enabled")
    is_saved = "auto" in (updates.get("address"), updates.get("shipping"))
    if is_automatic and not is_saved and not taxes.is_located(taxes.buyer_of(world, customer)):
        raise ApiError(
            400,
            "Automatic tax calculation in Checkout requires a valid address on the Customer. Add a valid address to "
            "the Customer or set either `customer_update[address]` to 'auto' or `customer_update[shipping]` to 'auto' "
            "to save the address entered in Checkout to the Customer.",
            code="customer_tax_location_invalid",
            is_replayed=False,
        )


def fields_of(params: Mapping[str, Any]) -> Object:
    """Return the session's fields about its questions."""
    is_automatic = params.get("automatic_tax", {}).get("enabled", False)
    asks_tax_id = params.get("tax_id_collection", {"enabled": False})
    texts = dict.fromkeys(("after_submit", "shipping_address", "submit", "terms_of_service_acceptance"))
    return {
        "automatic_tax": {
            "enabled": is_automatic,
            "liability": {"type": "self"} if is_automatic else None,
            "provider": "stripe" if is_automatic else None,
            "status": "requires_location_inputs" if is_automatic else None,
        },
        "billing_address_collection": params.get("billing_address_collection"),
        "custom_fields": [_custom_field(each) for each in params.get("custom_fields", [])],
        "custom_text": texts | params.get("custom_text", {}),
        "tax_id_collection": {"required": "never"} | asks_tax_id,
    }


def asks_address(session: Object) -> bool:
    return bool(session["billing_address_collection"] == "required" or session["automatic_tax"]["enabled"])


def missing_details(world: World, session: Object) -> str | None:
    """Return in a sentence what the visitor has not entered yet, or None."""
    buyer = buyer_of(world, session)
    must_type = session["billing_address_collection"] == "required" and not _entered(world, session).get("address")
    if must_type or (session["automatic_tax"]["enabled"] and not taxes.is_located(buyer)):
        return "Please enter your billing address."
    for each in session["custom_fields"]:
        if not each["optional"] and each[each["type"]]["value"] is None:
            return f"Please fill in {each['label']['custom']}."
    return None


def enter(world: World, session: Object, submitted: Mapping[str, str]) -> None:
    """Store what the visitor entered.

    Errors  ApiError with a message for the visitor; nothing has changed then
    """
    entered = dict(_entered(world, session))
    if asks_address(session):
        entered["address"] = _address(submitted)
        entered["name"] = submitted.get("name", "").strip() or None
    number = submitted.get("tax_id", "").replace(" ", "")
    if session["tax_id_collection"]["enabled"] and number:
        kind = submitted.get("tax_id_type", "eu_vat")
        tax_ids.check_tax_id({"type": kind, "value": number}, "tax_id")
        entered["tax_ids"] = [{"type": kind, "value": number}]
    fields = [_filled(each, submitted.get(f"field_{each['key']}")) for each in session["custom_fields"]]
    world.hidden[session["id"]]["buyer"] = entered
    session["custom_fields"] = fields


def save_to_customer(world: World, session: Object, *, is_new: bool) -> None:
    """Save what the visitor entered to the customer, as far as `customer_update` asks."""
    entered, customer = _entered(world, session), world.get("customer", session["customer"])
    updates = world.hidden[session["id"]].get("customer_update", {})
    saved = [name for name in ("address", "name") if entered.get(name) and (is_new or updates.get(name) == "auto")]
    if saved:
        update_customer(world, {name: entered[name] for name in saved}, customer["id"])
    for each in entered.get("tax_ids", []):
        tax_ids.add_tax_id(world, customer, each["type"], each["value"])


def details(world: World, session: Object) -> Object:
    """Return what the visitor entered, for `customer_details`."""
    entered = _entered(world, session)
    return {name: entered[name] for name in ("address", "name", "tax_ids") if entered.get(name)}


def _entered(world: World, session: Object) -> Object:
    found: Object = world.hidden[session["id"]].get("buyer", {})
    return found


def _address(submitted: Mapping[str, str]) -> Object:
    address = {name: submitted.get(name, "").strip() or None for name in ADDRESS}
    country = (address["country"] or "").upper()
    if len(country) != 2 or not country.isalpha():
        raise ApiError(400, "Please enter your country as two letters.")
    if country == "US" and not (address["state"] or address["postal_code"]):
        raise ApiError(400, "Please enter your state or ZIP code.")
    return address | {"country": country, "state": address["state"] and address["state"].upper()}


def _custom_field(given: Mapping[str, Any]) -> Object:
    kind = given["type"]
    own = dict(given.get(kind, {}))
    own = {"default_value": None, "value": None} | own
    if kind != "dropdown":
        own = {"maximum_length": None, "minimum_length": None} | own
    elif not own.get("options"):
        raise invalid("A dropdown needs options.", "custom_fields[0][dropdown][options]")
    shown = {"dropdown": None, "numeric": None, "text": None, kind: own}
    return {
        "key": given["key"],
        "label": given["label"],
        "optional": given.get("optional", False),
        "type": kind,
    } | shown


def _filled(field: Object, value: str | None) -> Object:
    kind = field["type"]
    value = (value or "").strip() or None
    if value and kind == "numeric" and not value.isdecimal():
        raise ApiError(400, f"{field['label']['custom']} must be a number.")
    if value and kind == "dropdown" and value not in [each["value"] for each in field["dropdown"]["options"]]:
        raise ApiError(400, f"Please choose {field['label']['custom']} from the list.")
    return field | {kind: field[kind] | {"value": value}}


LENGTHS = {"default_value": text, "maximum_length": integer, "minimum_length": integer}
DROPDOWN = nested({"default_value": text, "options": list_of(nested({"label": text, "value": text}))})
CUSTOM_FIELD = nested(
    {
        "dropdown": DROPDOWN,
        "key": text,
        "label": nested({"custom": text, "type": choice("custom")}),
        "numeric": nested(LENGTHS),
        "optional": boolean,
        "text": nested(LENGTHS),
        "type": choice("dropdown", "numeric", "text"),
    }
)
QUESTIONS = {
    "automatic_tax": nested({"enabled": boolean}),
    "billing_address_collection": choice("auto", "required"),
    "custom_fields": list_of(CUSTOM_FIELD),
    "custom_text": nested({name: optional(nested({"message": text})) for name in ("after_submit", "submit")}),
    "tax_id_collection": nested({"enabled": boolean, "required": choice("if_supported", "never")}),
}
