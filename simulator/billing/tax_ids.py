"""Customers' tax ids: their forms, and their effect on taxes in taxes.py."""

import re
from collections.abc import Mapping

from ..errors import invalid, missing_parameter
from ..world import Object, World

FORMS = {
    "au_abn": r"\d{11}",
    "br_cnpj": r"\d{2}\.?\d{3}\.?\d{3}/?\d{4}-?\d{2}",
    "ca_gst_hst": r"\d{9}RT\d{4}",
    "ch_vat": r"CHE-?\d{3}\.?\d{3}\.?\d{3} ?(MWST|TVA|IVA)",
    "eu_vat": r"[A-Z]{2}[0-9A-Z+*]{2,12}",
    "gb_vat": r"GB\d{9}(\d{3})?",
    "in_gst": r"\d{2}[A-Z]{5}\d{4}[A-Z][0-9A-Z]Z[0-9A-Z]",
    "jp_cn": r"\d{13}",
    "no_vat": r"\d{9}MVA",
    "us_ein": r"\d{2}-?\d{7}",
}
VERIFIED = ("au_abn", "eu_vat", "gb_vat")
"""The types that Stripe verifies. The simulator finds every number of the right form genuine, at once."""


def check_tax_id(given: Mapping[str, str], param: str) -> None:
    """Raise ApiError for a value that does not have its type's form.

    Shape   given: `type` and `value`; param: the value's parameter, for errors
    """
    for name in ("type", "value"):
        if name not in given:
            raise missing_parameter(name)
    if not re.fullmatch(FORMS[given["type"]], given["value"]):
        raise invalid(f"Invalid value for {given['type']}.", param, "tax_id_invalid")


def add_tax_id(world: World, customer: Object, kind: str, value: str) -> Object:
    """Add a checked tax id to a customer."""
    status = "verified" if kind in VERIFIED else "unavailable"
    verification = {"status": status, "verified_address": None, "verified_name": customer["name"]}
    tax_id = {
        "id": world.new_id("tax_id"),
        "object": "tax_id",
        "country": value[:2] if kind == "eu_vat" else kind[:2].upper(),
        "created": world.now,
        "customer": customer["id"],
        "customer_account": None,
        "livemode": False,
        "owner": {"customer": customer["id"], "type": "customer"},
        "type": kind,
        "value": value,
        "verification": verification,
    }
    world.add("tax_id", tax_id)
    world.emit("customer.tax_id.created", tax_id)
    return tax_id
