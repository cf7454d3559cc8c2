"""Payment methods: test cards, by Stripe's names or numbers for them."""

from typing import Any

from .. import form, lists
from ..cards import BY_NUMBER, CARDS
from ..errors import ApiError, missing, not_played
from ..form import choice, metadata, nested, optional, text
from ..route import Route, retrieving
from ..world import Object, World

PATH = "/v1/payment_methods"
ADDRESS = nested({name: optional(text) for name in ("city", "country", "line1", "line2", "postal_code", "state")})
BILLING_DETAILS = {"address": ADDRESS, "email": optional(text), "name": optional(text), "phone": optional(text)}


def create_payment_method(world: World, params: dict[str, Any]) -> Object:
    return make(world, _card_of(params.get("card", {})), params.get("billing_details", {}))


def attach_payment_method(world: World, params: dict[str, Any], method_id: str) -> Object:
    return attached(world, method_id, world.get("customer", params["customer"], "customer"), "id")


def detach_payment_method(world: World, _params: dict[str, Any], method_id: str) -> Object:
    method = world.get("payment_method", method_id)
    method["customer"] = None
    for customer in world.all("customer"):
        if not customer.get("deleted") and customer["invoice_settings"]["default_payment_method"] == method_id:
            customer["invoice_settings"]["default_payment_method"] = None
    world.emit("payment_method.detached", method)
    return method


def list_payment_methods(world: World, params: dict[str, Any]) -> Object:
    return lists.page(world.where("payment_method", customer=params.get("customer")), params, PATH)


def make(world: World, card: str, billing_details: dict[str, Any]) -> Object:
    """Make a payment method of a test card."""
    method: Object = {
        "id": world.new_id("payment_method"),
        "object": "payment_method",
        "allow_redisplay": "unspecified",
        "billing_details": dict.fromkeys(("address", "email", "name", "phone", "tax_id")) | billing_details,
        "card": _shown(card),
        "created": world.now,
        "customer": None,
        "customer_account": None,
        "livemode": False,
        "metadata": {},
        "type": "card",
    }
    world.cards[method["id"]] = card
    return world.add("payment_method", method)


def attached(world: World, method_id: str, customer: Object, param: str) -> Object:
    """Attach a payment method; of a name such as pm_card_visa, a new one is made. Cards that decline, decline here."""
    if method_id.startswith("pm_card_"):
        name = method_id.removeprefix("pm_card_")
        if name not in CARDS:
            raise missing("payment_method", method_id, param)
        if CARDS[name].declines == "attach":
            raise CARDS[name].error()
        method = make(world, name, {})
    else:
        method = world.get("payment_method", method_id, param)
        if CARDS[world.cards[method_id]].declines == "attach":
            raise CARDS[world.cards[method_id]].error()
    if method["customer"] not in (None, customer["id"]):
        raise ApiError(400, "The payment method is attached to another customer.", param=param)
    if method["customer"] is None:
        method["customer"] = customer["id"]
        world.emit("payment_method.attached", method)
    return method


def _card_of(given: dict[str, Any]) -> str:
    if "token" in given:
        name = str(given["token"]).removeprefix("tok_")
        if name not in CARDS:
            raise missing("token", given["token"], "card[token]")
        return name
    number = str(given.get("number", ""))
    if number not in BY_NUMBER:
        raise not_played("cards other than Stripe's published test cards")
    return BY_NUMBER[number]


def _shown(name: str) -> Object:
    card = CARDS[name]
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


CARD = {"token": text, "number": text, "exp_month": form.integer, "exp_year": form.integer, "cvc": text}

ROUTES = (
    Route(
        "POST",
        PATH,
        create_payment_method,
        {
            "type": choice("card"),
            "card": nested(CARD),
            "billing_details": nested(BILLING_DETAILS),
            "metadata": metadata,
        },
        required=("type",),
    ),
    retrieving("payment_method", PATH),
    Route("POST", f"{PATH}/<id>/attach", attach_payment_method, {"customer": text}, required=("customer",)),
    Route("POST", f"{PATH}/<id>/detach", detach_payment_method),
    Route("GET", PATH, list_payment_methods, form.LIST | {"customer": text, "type": choice("card")}),
)
