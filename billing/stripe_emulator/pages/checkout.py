"""The Checkout page."""

from __future__ import annotations

from billing.stripe_emulator.errors import StripeError, card_error
from billing.stripe_emulator.nouns.checkout_pay import card_optional, session_pay
from billing.stripe_emulator.nouns.checkout_sum import session_code
from billing.stripe_emulator.nouns.tax_ids import FORMS
from billing.stripe_emulator.pages.forms import attempt, card_from, plain
from billing.stripe_emulator.pages.html import Page, card_fields, document, error_box, esc, money, origin
from billing.stripe_emulator.store import Obj
from billing.stripe_emulator.world import World


def checkout(world: World, method: str, session_id: str, deed: str | None, form: dict[str, str]) -> Page:
    """Show a session, pay it, or try a promotion code on it."""
    ends: list[str] = []
    refused: StripeError | None = None
    if deed == "promotion" and method == "POST":
        refused = attempt(
            world, lambda: session_code(world, world.get("checkout.session", session_id), form.get("code", ""))
        )
        if refused is None:
            return Page("", 303, redirect=f"/c/pay/{session_id}")
    elif method == "POST":

        def pay() -> None:
            session = world.get("checkout.session", session_id)
            email = form.get("email", "").strip()[:512]
            if session["status"] == "open" and not session["customer"] and "@" not in email:
                raise card_error("Your email is incomplete.", code="email_invalid", decline_code=None)
            card = None if card_optional(session) and not form.get("number", "").strip() else card_from(form)
            kind, value = form.get("tax_type", ""), form.get("tax_value", "").strip()[:100]
            collects = (session["tax_id_collection"] or {}).get("enabled")
            tax = (kind, value) if collects and value and kind in FORMS else None
            ends.append(session_pay(world, session, card, email, form.get("name", "").strip()[:200], tax))

        refused = attempt(world, pay)
        if ends:
            return Page("", 303, redirect=ends[0])
    with world.transaction():
        session = world.get("checkout.session", session_id)
        return _checkout_page(world, session, refused, form)


def _checkout_page(world: World, session: Obj, refused: StripeError | None, form: dict[str, str]) -> Page:
    if session["status"] != "open":
        words = {
            "complete": "This payment is complete. You can close this page.",
            "expired": "This checkout has expired. Go back and start again.",
        }
        return plain("Checkout", words[session["status"]], 200 if session["status"] == "complete" else 410)
    refused = refused or _unpaid(world, session)
    customer = world.maybe(session["customer"])
    email = form.get("email") or (customer and customer["email"]) or session["customer_email"] or ""
    press = {"subscription": "Subscribe", "payment": "Pay", "setup": "Save card"}[session["mode"]]
    due = "" if session["mode"] == "setup" else f" {money(session['amount_total'], session['currency'])}"
    back = session["cancel_url"]
    locked = " readonly" if customer and customer["email"] else ""
    body = (
        f"<h1>{press}{':' if due else ''}{due}</h1>{_lines(session) if due else ''}{_code(session)}"
        f'<form class=card method=post action="/c/pay/{esc(session["id"])}">{error_box(refused)}'
        f"<label for=email>Email</label><input id=email name=email type=email autocomplete=email required "
        f'maxlength=512 value="{esc(email)}"{locked}>{card_fields(optional=card_optional(session))}'
        f"<label for=name>Name on card</label><input id=name name=name autocomplete=cc-name maxlength=200 "
        f'value="{esc(form.get("name", ""))}">{_tax_id(session)}'
        f"<button class=whole type=submit>{press}{due}</button></form>"
        + (f'<p><a href="{esc(back)}">Cancel and go back</a></p>' if back else "")
    )
    return Page(document("Checkout", body), refused.status if refused else 200, origin(session["success_url"]))


def _lines(session: Obj) -> str:
    currency, details = session["currency"], session["total_details"]
    rows = "".join(
        f"<tr><td>{esc(line['description'])}{_per(line['price'])}</td><td class=num>{line['quantity']}</td>"
        f"<td class=num>{money(line['amount_subtotal'], currency)}</td></tr>"
        for line in session["_lines"]
    )
    for name, amount in (("Discount", -details["amount_discount"]), ("Tax", details["amount_tax"])):
        rows += f"<tr><td colspan=2>{name}</td><td class=num>{money(amount, currency)}</td></tr>" if amount else ""
    return (
        "<section><table><thead><tr><th>What</th><th class=num>Quantity</th><th class=num>Amount</th></tr></thead>"
        f"<tbody>{rows}<tr class=total><td colspan=2>Due today</td>"
        f"<td class=num>{money(session['amount_total'], currency)}</td></tr></tbody></table></section>"
    )


def _code(session: Obj) -> str:
    if not session["allow_promotion_codes"]:
        return ""
    here = f"/c/pay/{esc(session['id'])}/promotion"
    if session["_coupons"]:
        return (
            f'<form class=card method=post action="{here}"><p class=good>A promotion code is applied.</p>'
            "<button class=quiet type=submit>Remove it</button></form>"
        )
    return (
        f'<form class=card method=post action="{here}"><label for=code>Promotion code</label>'
        "<input id=code name=code maxlength=500 autocomplete=off required>"
        "<button class=quiet type=submit>Apply</button></form>"
    )


def _tax_id(session: Obj) -> str:
    if not (session["tax_id_collection"] or {}).get("enabled"):
        return ""
    kinds = "".join(f"<option value={kind}>{kind.replace('_', ' ').upper()}</option>" for kind in FORMS)
    return (
        f"<label for=tax_type>Tax ID, for a business</label><select id=tax_type name=tax_type>{kinds}</select>"
        "<label for=tax_value>Tax ID number</label><input id=tax_value name=tax_value maxlength=100>"
    )


def _unpaid(world: World, session: Obj) -> StripeError | None:
    """Why the card before this one did not pay, when its owner came back from authenticating."""
    intent = world.maybe(session.get("_intent"))
    error = (intent.get("last_payment_error") or intent.get("last_setup_error")) if intent else None
    return StripeError(error["message"], status=402) if error else None


def _per(price: Obj) -> str:
    if not price["recurring"]:
        return ""
    count = price["recurring"]["interval_count"]
    each = price["recurring"]["interval"] if count == 1 else f"{count} {price['recurring']['interval']}s"
    return f"<br><span class=note>each {esc(each)}</span>"
