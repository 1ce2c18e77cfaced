"""The hosted invoice: what it is for, and a way to pay it while it is open."""

from __future__ import annotations

from billing.stripe_emulator.errors import StripeError
from billing.stripe_emulator.nouns.invoices import ACTION_NEEDED, intent_of, invoice_attempt
from billing.stripe_emulator.nouns.payment_methods import method_from_card
from billing.stripe_emulator.nouns.tax_rates import exclusive
from billing.stripe_emulator.pages.forms import attempt, card_from, plain
from billing.stripe_emulator.pages.html import Page, card_fields, day, document, error_box, esc, money
from billing.stripe_emulator.pages.pdf import pdf, row
from billing.stripe_emulator.store import Obj
from billing.stripe_emulator.world import World


def invoice(world: World, method: str, invoice_id: str, form: dict[str, str]) -> Page:
    """Show an invoice, or pay it with the card of the form."""
    refused: StripeError | None = None
    if method == "POST":
        refused = attempt(world, lambda: _pay(world, invoice_id, form))
    with world.transaction():
        found = world.get("invoice", invoice_id)
        if found["status"] == "draft":
            return plain("Invoice", "This invoice is still a draft.", 404)
        if refused is not None and refused.code == ACTION_NEEDED:
            return Page("", 303, redirect=str(intent_of(world, found)["_action"]["url"]))
        if method == "POST" and refused is None:
            return Page("", 303, redirect=f"/i/{invoice_id}")
        return _page(world, found, refused)


def invoice_file(world: World, invoice_id: str) -> Page:
    """The invoice as PDF."""
    with world.transaction():
        found = world.get("invoice", invoice_id)
        if found["status"] == "draft":
            return plain("Invoice", "This invoice is still a draft.", 404)
        currency = found["currency"]
        lines = [
            f"For {found['customer_name'] or found['customer_email'] or found['customer']}",
            f"{day(found['created'])}, state: {found['status']}",
            *(f"{field['name']}: {field['value']}" for field in found["custom_fields"] or []),
            "",
            *(row(line["description"] or "", money(line["amount"], currency)) for line in found["lines"]["data"]),
            "",
            *(row(name, money(amount, currency)) for name, amount in _extra(found).items() if amount),
            row("Total", money(found["total"], currency)),
            row("Due", money(found["amount_remaining"], currency)),
        ]
    return Page("", file=pdf(f"Invoice {found['number']}", lines))


def _extra(invoice: Obj) -> dict[str, int]:
    """What comes between the lines and the total."""
    return {
        "Discount": -sum(entry["amount"] for entry in invoice["total_discount_amounts"]),
        "Credit": -sum(entry["amount"] for entry in invoice["total_pretax_credit_amounts"]),
        "Tax": exclusive(invoice["total_taxes"]),
    }


def receipt(world: World, charge_id: str) -> Page:
    """What was paid, when and with what."""
    found = world.get("charge", charge_id)
    card = found["payment_method_details"]["card"]
    paid = f"{money(found['amount'], found['currency'])}, {day(found['created'])}"
    with_what = f"{card['brand']} ending {card['last4']}"
    back = f" {money(found['amount_refunded'], found['currency'])} went back." if found["amount_refunded"] else ""
    body = f"<h1>Receipt</h1><section><p>Paid {esc(paid)}, with {esc(with_what)}.{esc(back)}</p></section>"
    return Page(document("Receipt", body))


def _pay(world: World, invoice_id: str, form: dict[str, str]) -> None:
    found = world.get("invoice", invoice_id)
    billing = {"email": found["customer_email"], "name": found["customer_name"]}
    invoice_attempt(world, found, method_from_card(world, card_from(form), billing), off_session=False)


def _page(world: World, invoice: Obj, refused: StripeError | None) -> Page:
    currency = invoice["currency"]
    rows = "".join(
        f"<tr><td>{esc(line['description'] or '')}<br><span class=note>{day(line['period']['start'])} to "
        f"{day(line['period']['end'])}</span></td><td class=num>{money(line['amount'], currency)}</td></tr>"
        for line in invoice["lines"]["data"]
    )
    rows += "".join(
        f"<tr><td>{name}</td><td class=num>{money(amount, currency)}</td></tr>"
        for name, amount in _extra(invoice).items()
        if amount
    )
    who = invoice["customer_name"] or invoice["customer_email"] or invoice["customer"]
    body = (
        f"<h1>Invoice {esc(invoice['number'])}</h1><p>{esc(who)}"
        f", {day(invoice['created'])}. State: {esc(invoice['status'])}.</p><section><table><thead><tr><th>Line</th>"
        f"<th class=num>Amount</th></tr></thead><tbody>{rows}<tr class=total><td>Total</td>"
        f"<td class=num>{money(invoice['total'], currency)}</td></tr><tr><td>Due</td>"
        f"<td class=num>{money(invoice['amount_remaining'], currency)}</td></tr></tbody></table></section>"
        f"{_payment(world, invoice, refused)}"
    )
    return Page(document(f"Invoice {invoice['number']}", body), refused.status if refused else 200)


def _payment(world: World, invoice: Obj, refused: StripeError | None) -> str:
    if invoice["status"] != "open":
        return error_box(refused)
    intent = intent_of(world, invoice)
    waiting = ""
    if intent["status"] == "requires_action":
        waiting = (
            "<h2>Confirm</h2><section><p>Your bank wants you to confirm this payment.</p>"
            f'<p><a href="{esc(intent["_action"]["url"])}">Confirm the payment</a></p></section>'
        )
    return (
        f'{waiting}<h2>Pay</h2><form class=card method=post action="/i/{esc(invoice["id"])}">{error_box(refused)}'
        f"{card_fields()}<button class=whole type=submit>Pay {money(invoice['amount_remaining'], invoice['currency'])}"
        "</button></form>"
    )
