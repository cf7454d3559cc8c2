"""The hosted page of an invoice, and its PDF."""

import bottle

from ..api.payment_methods import attach
from ..api.subscriptions import update_subscription
from ..billing import payments
from ..errors import ApiError
from ..money.instruments import instrument_of
from ..world import Object, World
from . import NeedsAuthentication, authentication_page, card_fields, date, money, page, submitted_method


def show_invoice(world: World, invoice_id: str, error: str | None = None) -> bottle.HTTPResponse:
    invoice = world.get("invoice", invoice_id)
    return page(
        "Invoice",
        "invoice",
        402 if error else 200,
        action=f"/i/{invoice_id}",
        number=invoice["number"],
        amount=money(invoice["amount_due"], invoice["currency"]),
        status=f"{invoice['status']}, of {date(invoice['created'])}",
        is_open=invoice["status"] == "open",
        is_pending=payments.is_pending(world, invoice),
        card_fields=card_fields(error),
    )


def download_invoice(world: World, invoice_id: str) -> bottle.HTTPResponse:
    """Return the PDF at an invoice's `invoice_pdf` URL."""
    invoice = world.get("invoice", invoice_id)
    lines = [
        "Simulation, not Stripe.",
        f"Invoice {invoice['number']}",
        f"{invoice['status']}, of {date(invoice['created'])}",
        *(f"{line['description']}: {money(line['amount'], line['currency'])}" for line in invoice["lines"]["data"]),
        f"Total: {money(invoice['total'], invoice['currency'])}",
    ]
    return bottle.HTTPResponse(_pdf(lines), 200, {"Content-Type": "application/pdf"})


def pay_invoice(world: World, invoice_id: str) -> bottle.HTTPResponse:
    invoice = world.get("invoice", invoice_id)
    try:
        method_id = submitted_method(world)
        attach(world, method_id, world.get("customer", invoice["customer"]), "payment_method")
        if invoice["status"] == "open" and not payments.is_pending(world, invoice):
            _charge(world, invoice, method_id)
    except NeedsAuthentication as needed:
        return authentication_page(str(needed), f"/i/{invoice_id}")
    except ApiError as error:
        return show_invoice(world, invoice_id, str(error))
    return show_invoice(world, invoice_id)


def _charge(world: World, invoice: Object, method_id: str) -> None:
    """Pay with this method; if that succeeds, make it the subscription's default."""
    if payments.attempt(world, invoice, method_id, by_schedule=False) == "declined":
        raise instrument_of(world, method_id).error()
    details = (invoice["parent"] or {}).get("subscription_details")
    if details:
        update_subscription(world, {"default_payment_method": method_id}, details["subscription"])


def _pdf(lines: list[str]) -> bytes:
    """Return a PDF of one page with these lines. Characters outside Latin-1 become question marks.

    Source  ISO 32000-1, 7.5: the smallest valid file
    """
    shown = "".join(f"({_escaped(line)}) Tj T*\n" for line in lines)
    text = f"BT /F1 12 Tf 18 TL 56 780 Td\n{shown}ET".encode("latin-1", "replace")
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R "
        b"/Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%b\nendstream" % (len(text), text),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    return _file(objects)


def _file(objects: list[bytes]) -> bytes:
    written, places = b"%PDF-1.4\n", []
    for number, each in enumerate(objects, 1):
        places.append(b"%010d 00000 n \n" % len(written))
        written += b"%d 0 obj\n%b\nendobj\n" % (number, each)
    table = b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1) + b"".join(places)
    end = b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, len(written))
    return written + table + end


def _escaped(line: str) -> str:
    return "".join(f"\\{letter}" if letter in "()\\" else letter for letter in line)
