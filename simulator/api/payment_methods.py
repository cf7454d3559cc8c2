"""Payment methods: test cards and test bank accounts, by Stripe's names or numbers."""

from typing import Any

from ..errors import ApiError, unsupported
from ..http import form, lists
from ..http.form import choice, metadata, nested, optional, text
from ..http.route import Route, retrieve_route
from ..money.instruments import instrument_of
from ..test_cards import BY_NUMBER, INSTRUMENTS, Instrument, resolve_name
from ..world import Object, World

PATH = "/v1/payment_methods"
ADDRESS = nested({name: optional(text) for name in ("city", "country", "line1", "line2", "postal_code", "state")})
BILLING_DETAILS = {"address": ADDRESS, "email": optional(text), "name": optional(text), "phone": optional(text)}


def create_payment_method(world: World, params: dict[str, Any]) -> Object:
    given = params.get(params["type"], {})
    if "token" in given:
        name = resolve_name(given["token"]) or ""
    else:
        name = BY_NUMBER.get(given.get("number") or given.get("iban") or given.get("account_number") or "", "")
    if name not in INSTRUMENTS or INSTRUMENTS[name].type != params["type"]:
        raise unsupported("payment methods other than Stripe's published test cards and test bank accounts")
    return create_method(world, name, params.get("billing_details", {}), params.get("metadata"))


def attach_payment_method(world: World, params: dict[str, Any], method_id: str) -> Object:
    return attach(world, method_id, world.get("customer", params["customer"], "customer"), "id")


def detach_payment_method(world: World, _params: dict[str, Any], method_id: str) -> Object:
    method = world.get("payment_method", method_id)
    method["customer"] = None
    for customer in world.all("customer"):
        if not customer.get("deleted") and customer["invoice_settings"]["default_payment_method"] == method_id:
            customer["invoice_settings"]["default_payment_method"] = None
    world.emit("payment_method.detached", method)
    return method


def update_payment_method(world: World, params: dict[str, Any], method_id: str) -> Object:
    method = world.get("payment_method", method_id)
    with world.changing(method, "payment_method.updated"):
        method["billing_details"] = method["billing_details"] | params.get("billing_details", {})
        method["metadata"] = form.merge_metadata(method["metadata"], params.get("metadata"))
    return method


def list_payment_methods(world: World, params: dict[str, Any]) -> Object:
    fields = {"customer": params.get("customer")} | ({"type": params["type"]} if "type" in params else {})
    return lists.page(world.where("payment_method", **fields), params, PATH)


def create_method(
    world: World, name: str, billing_details: dict[str, Any], tags: dict[str, str] | None = None
) -> Object:
    """Create a payment method for a test card or test bank account."""
    instrument = INSTRUMENTS[name]
    method: Object = {
        "id": world.new_id("payment_method"),
        "object": "payment_method",
        "allow_redisplay": "unspecified",
        "billing_details": dict.fromkeys(("address", "email", "name", "phone", "tax_id")) | billing_details,
        instrument.type: SHOWN[instrument.type](instrument),
        "created": world.now,
        "customer": None,
        "customer_account": None,
        "livemode": False,
        "metadata": tags or {},
        "type": instrument.type,
    }
    world.hidden[method["id"]] = {"instrument": name}
    return world.add("payment_method", method)


def attach(world: World, method_id: str, customer: Object, param: str) -> Object:
    """Attach a payment method; a name such as pm_card_visa creates one. Raise ApiError if it declines when attached."""
    name = resolve_name(method_id)
    method = create_method(world, name, {}) if name else world.get("payment_method", method_id, param)
    instrument = instrument_of(world, method["id"])
    if instrument.declines == "attach":
        raise instrument.error()
    if method["customer"] not in (None, customer["id"]):
        raise ApiError(400, "The payment method is attached to another customer.", param=param)
    if method["customer"] is None:
        method["customer"] = customer["id"]
        world.emit("payment_method.attached", method)
    return method


def _shown_card(card: Instrument) -> Object:
    return {
        "brand": card.brand,
        "checks": {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "pass"},
        "country": "US",
        "display_brand": card.brand,
        "exp_month": 12,
        "exp_year": 2040,
        "fingerprint": f"fp{card.number[-8:]}",
        "funding": "credit",
        "generated_from": None,
        "last4": card.number[-4:],
        "networks": {"available": [card.brand], "preferred": None},
        "regulated_status": "unregulated",
        "three_d_secure_usage": {"supported": True},
        "wallet": None,
    }


def _shown_sepa_debit(account: Instrument) -> Object:
    return {
        "bank_code": account.number[4:12],
        "branch_code": None,
        "country": account.number[:2],
        "fingerprint": f"fp{account.number[-8:]}",
        "generated_from": {"charge": None, "setup_attempt": None},
        "last4": account.number[-4:],
    }


def _shown_us_bank_account(account: Instrument) -> Object:
    return {
        "account_holder_type": "individual",
        "account_type": "checking",
        "bank_name": "STRIPE TEST BANK",
        "financial_connections_account": None,
        "fingerprint": f"fp{account.number[-8:]}",
        "last4": account.number[-4:],
        "networks": {"preferred": "ach", "supported": ["ach"]},
        "routing_number": "110000000",
        "status_details": {},
    }


SHOWN = {"card": _shown_card, "sepa_debit": _shown_sepa_debit, "us_bank_account": _shown_us_bank_account}
CARD = {"token": text, "number": text, "exp_month": form.integer, "exp_year": form.integer, "cvc": text}

ROUTES = (
    Route(
        "POST",
        PATH,
        create_payment_method,
        {
            "type": choice(*SHOWN),
            "card": nested(CARD),
            "sepa_debit": nested({"iban": text}),
            "us_bank_account": nested(
                {
                    "account_holder_type": choice("company", "individual"),
                    "account_number": text,
                    "account_type": choice("checking", "savings"),
                    "routing_number": text,
                }
            ),
            "billing_details": nested(BILLING_DETAILS),
            "metadata": metadata,
        },
        required=("type",),
    ),
    retrieve_route("payment_method", PATH),
    Route(
        "POST",
        f"{PATH}/<id>",
        update_payment_method,
        {"billing_details": nested(BILLING_DETAILS), "metadata": metadata},
    ),
    Route("POST", f"{PATH}/<id>/attach", attach_payment_method, {"customer": text}, required=("customer",)),
    Route("POST", f"{PATH}/<id>/detach", detach_payment_method),
    Route("GET", PATH, list_payment_methods, form.LIST | {"customer": text, "type": choice(*SHOWN)}),
)
