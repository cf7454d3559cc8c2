"""Payment links: addresses that open a new Checkout Session for each visitor."""

import re
from collections.abc import Mapping
from typing import Any

from ...errors import invalid
from ...http import form, lists
from ...http.form import boolean, choice, integer, list_of, metadata, nested, optional, text
from ...http.route import Route, retrieve_route
from ...world import Object, World
from .. import checkout_sessions
from ..reading import session_items
from . import buyer, order

PATH = "/v1/payment_links"
KIND = "payment_link"
REFERENCE = re.compile(r"[A-Za-z0-9_-]{1,200}")
SAME = ("after_completion", "inactive_message", "restrictions")
"""Fields of the link that are no parameters of its sessions."""


def create_link(world: World, params: dict[str, Any]) -> Object:
    ordered = order.read_items(world, params["line_items"])
    optional_items = order.read_items(world, params.get("optional_items", []), "optional_items")
    prices = [world.get("price", each["price"]) for each in ordered]
    link = _blank(world) | buyer.fields_of(params) | _fields(params)
    link["automatic_tax"] = {name: link["automatic_tax"][name] for name in ("enabled", "liability")}
    link["billing_address_collection"] = params.get("billing_address_collection", "auto")
    link |= {"currency": prices[0]["currency"], "optional_items": order.shown_optional(optional_items)}
    link["subscription_data"] = _subscription_data(params) if any(each["recurring"] for each in prices) else None
    link["url"] = f"{world.base_url}/buy/{link['id']}"
    world.hidden[link["id"]] = {"items": ordered, "optional_items": optional_items, "params": params}
    world.add(KIND, link)
    world.emit("payment_link.created", link)
    return link


def update_link(world: World, params: dict[str, Any], link_id: str) -> Object:
    link = world.get(KIND, link_id)
    if "metadata" in params:
        params["metadata"] = form.merge_metadata(link["metadata"], params["metadata"])
    world.hidden[link_id]["params"] |= {name: value for name, value in params.items() if name != "active"}
    with world.changing(link, "payment_link.updated"):
        link |= _fields(params)
    return link


def list_links(world: World, params: dict[str, Any]) -> Object:
    fields = {"active": params["active"]} if "active" in params else {}
    return lists.page(world.where(KIND, **fields), params, PATH)


def list_line_items(world: World, params: dict[str, Any], link_id: str) -> Object:
    found = session_items.items_of_order(world, world.get(KIND, link_id))
    return lists.page(found, params, f"{PATH}/{link_id}/line_items")


def open_link(world: World, link_id: str, visitor: Mapping[str, str]) -> Object:
    """Open a Checkout Session for a visitor.

    Shape   visitor: the address' parameters, such as client_reference_id; a malformed one is dropped, as at Stripe
    Errors  ApiError with a message for the visitor, when the link is archived or used up
    """
    link = world.get(KIND, link_id)
    done = (link["restrictions"] or {}).get("completed_sessions")
    if not link["active"] or (done and done["count"] >= done["limit"]):
        raise invalid(link["inactive_message"] or "The link is no longer active.", "payment_link")
    known = world.hidden[link_id]
    given = {name: value for name, value in known["params"].items() if name not in (*SAME, "active", "metadata")}
    given["line_items"] = [_as_given(each) for each in known["items"]]
    if known["optional_items"]:
        given["optional_items"] = [_as_given(each) for each in known["optional_items"]]
    given |= {"metadata": dict(link["metadata"]), "mode": "subscription" if link["subscription_data"] else "payment"}
    if given["mode"] == "payment":
        given.pop("payment_method_collection", None)
    redirect = link["after_completion"]["redirect"]
    given |= {"success_url": redirect["url"]} if redirect else {}
    session = checkout_sessions.create_session(world, given | _from_visitor(visitor))
    session["payment_link"] = link_id
    return session


def _from_visitor(visitor: Mapping[str, str]) -> dict[str, str]:
    given = {}
    if REFERENCE.fullmatch(visitor.get("client_reference_id", "")):
        given["client_reference_id"] = visitor["client_reference_id"]
    email = visitor.get("locked_prefilled_email") or visitor.get("prefilled_email") or ""
    if form.EMAIL.fullmatch(email):
        given["customer_email"] = email
    return given


def _as_given(item: Object) -> Object:
    given = {name: item[name] for name in ("price", "quantity", "adjustable_quantity", "metadata") if item[name]}
    return given | ({"tax_rates": item["tax_rates"]} if item["tax_rates"] else {})


def _fields(params: Mapping[str, Any]) -> Object:
    """Return the link's fields that are its parameters, in their shown shape."""
    plain = ("active", "allow_promotion_codes", "inactive_message", "metadata", "payment_method_collection")
    fields = {name: params[name] for name in plain if name in params}
    if "after_completion" in params:
        fields["after_completion"] = {"hosted_confirmation": None, "redirect": None} | params["after_completion"]
    if "restrictions" in params:
        fields["restrictions"] = {"completed_sessions": {"count": 0} | params["restrictions"]["completed_sessions"]}
    return fields


def _subscription_data(params: Mapping[str, Any]) -> Object:
    nulls = dict.fromkeys(("description", "trial_period_days", "trial_settings"))
    given = params.get("subscription_data", {})
    data: Object = nulls | {"invoice_settings": {"issuer": {"type": "self"}}, "metadata": {}} | given
    return data


def _blank(world: World) -> Object:
    nulls = (
        "application application_fee_amount application_fee_percent consent_collection inactive_message "
        "invoice_creation managed_payments name_collection on_behalf_of payment_intent_data payment_method_options "
        "payment_method_types restrictions shipping_address_collection transfer_data"
    )
    blank: Object = dict.fromkeys(nulls.split())
    message = {"hosted_confirmation": {"custom_message": None}, "redirect": None, "type": "hosted_confirmation"}
    return blank | {
        "id": world.new_id(KIND),
        "object": KIND,
        "active": True,
        "after_completion": message,
        "allow_promotion_codes": False,
        "customer_creation": "if_required",
        "livemode": False,
        "metadata": {},
        "payment_method_collection": "always",
        "phone_number_collection": {"enabled": False},
        "shipping_options": [],
        "submit_type": "auto",
    }


SUBSCRIPTION_DATA = {
    name: checkout_sessions.SUBSCRIPTION_DATA[name]
    for name in ("description", "metadata", "trial_period_days", "trial_settings")
}
FIELDS = {
    "after_completion": nested(
        {
            "hosted_confirmation": nested({"custom_message": text}),
            "redirect": nested({"url": text}),
            "type": choice("hosted_confirmation", "redirect"),
        }
    ),
    "allow_promotion_codes": boolean,
    "inactive_message": text,
    "metadata": metadata,
    "payment_method_collection": choice("always", "if_required"),
}

ROUTES = (
    Route(
        "POST",
        PATH,
        create_link,
        FIELDS
        | buyer.QUESTIONS
        | {
            "restrictions": nested({"completed_sessions": nested({"limit": integer})}),
            "line_items": list_of(nested(order.LINK_ITEM)),
            "optional_items": order.OPTIONAL_ITEMS,
            "subscription_data": nested(SUBSCRIPTION_DATA),
        },
        required=("line_items",),
    ),
    retrieve_route(KIND, PATH),
    Route(
        "POST",
        f"{PATH}/<id>",
        update_link,
        FIELDS | {"active": boolean, "inactive_message": optional(text)},
    ),
    Route("GET", PATH, list_links, form.LIST | {"active": boolean}),
    Route("GET", f"{PATH}/<id>/line_items", list_line_items, form.LIST),
)
