"""The Checkout page."""

from __future__ import annotations

from billing.stripe_emulator.errors import StripeError, card_error
from billing.stripe_emulator.nouns.checkout_pay import session_pay
from billing.stripe_emulator.pages.forms import attempt, card_from, plain
from billing.stripe_emulator.pages.html import Page, card_fields, document, error_box, esc, money, origin
from billing.stripe_emulator.store import Obj
from billing.stripe_emulator.world import World


def checkout(world: World, method: str, session_id: str, form: dict[str, str]) -> Page:
    ends: list[str] = []
    refused: StripeError | None = None
    if method == "POST":

        def pay() -> None:
            session = world.get("checkout.session", session_id)
            email = form.get("email", "").strip()[:512]
            if session["status"] == "open" and not session["customer"] and "@" not in email:
                raise card_error("Your email is incomplete.", code="email_invalid", decline_code=None)
            ends.append(session_pay(world, session, card_from(form), email, form.get("name", "").strip()[:200]))

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
    currency = session["currency"]
    rows = "".join(
        f"<tr><td>{esc(line['description'])}{_per(line['price'])}</td><td class=num>{line['quantity']}</td>"
        f"<td class=num>{money(line['amount_total'], currency)}</td></tr>"
        for line in session["_lines"]
    )
    off = session["total_details"]["amount_discount"]
    rows += f"<tr><td colspan=2>Discount</td><td class=num>{money(-off, currency)}</td></tr>" if off else ""
    recurring = session["mode"] == "subscription"
    press = "Subscribe" if recurring else "Pay"
    back = session["cancel_url"]
    locked = " readonly" if customer and customer["email"] else ""
    body = (
        f"<h1>{press}: {money(session['amount_total'], currency)}</h1>"
        "<section><table><thead><tr><th>What</th><th class=num>Quantity</th><th class=num>Amount</th></tr></thead>"
        f"<tbody>{rows}<tr class=total><td colspan=2>Due today</td>"
        f"<td class=num>{money(session['amount_total'], currency)}</td></tr></tbody></table></section>"
        f'<form class=card method=post action="/c/pay/{esc(session["id"])}">{error_box(refused)}'
        f"<label for=email>Email</label><input id=email name=email type=email autocomplete=email required "
        f'maxlength=512 value="{esc(email)}"{locked}>{card_fields()}'
        f"<label for=name>Name on card</label><input id=name name=name autocomplete=cc-name maxlength=200 "
        f'value="{esc(form.get("name", ""))}">'
        f"<button class=whole type=submit>{press} {money(session['amount_total'], currency)}</button></form>"
        + (f'<p><a href="{esc(back)}">Cancel and go back</a></p>' if back else "")
    )
    return Page(document("Checkout", body), refused.status if refused else 200, origin(session["success_url"]))


def _unpaid(world: World, session: Obj) -> StripeError | None:
    """Why the card before this one did not pay, when its owner came back from authenticating."""
    intent = world.maybe(session.get("_intent"))
    error = intent["last_payment_error"] if intent else None
    return StripeError(error["message"], status=402) if error else None


def _per(price: Obj) -> str:
    if not price["recurring"]:
        return ""
    count = price["recurring"]["interval_count"]
    each = price["recurring"]["interval"] if count == 1 else f"{count} {price['recurring']['interval']}s"
    return f"<br><span class=note>each {esc(each)}</span>"
