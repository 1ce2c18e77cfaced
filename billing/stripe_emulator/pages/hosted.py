"""Checkout, portal and invoice pages: what to show, and what a pressed button does."""

from __future__ import annotations

import re
from collections.abc import Callable

from billing.stripe_emulator.errors import StripeError, card_error
from billing.stripe_emulator.nouns.checkout import session_pay
from billing.stripe_emulator.nouns.payment_methods import default_method
from billing.stripe_emulator.nouns.portal import (
    portal_cancel,
    portal_card,
    portal_pay,
    portal_session,
    portal_subscriptions,
)
from billing.stripe_emulator.pages.html import Page, card_fields, day, document, error_box, esc, money, origin
from billing.stripe_emulator.store import Obj
from billing.stripe_emulator.world import World

_EXPIRY = re.compile(r"^\s*(\d{1,2})\s*[/\- ]?\s*(\d{2}|\d{4})\s*$")
_CHECKOUT = re.compile(r"^/c/pay/(cs_test_[A-Za-z0-9]+)$")
_PORTAL = re.compile(r"^/p/session/(bps_[A-Za-z0-9]+)/(emu_[A-Za-z0-9]+)(?:/(cancel|resume|card|pay))?$")
_INVOICE = re.compile(r"^/i/(in_[A-Za-z0-9]+)$")


def hosted(world: World, method: str, path: str, form: dict[str, str]) -> Page | None:
    """The page of an address, or None when it is no page's."""
    try:
        if path == "/" and method == "GET":
            return _home(world)
        if hit := _CHECKOUT.match(path):
            return _checkout(world, method, hit[1], form)
        if hit := _PORTAL.match(path):
            return _portal(world, method, hit[1], hit[2], hit[3], form)
        if (hit := _INVOICE.match(path)) and method == "GET":
            return _invoice(world, hit[1])
    except StripeError as error:
        return _plain("This page is not there", error.message, error.status)
    return None


def _plain(title: str, text: str, status: int = 200) -> Page:
    return Page(document(title, f"<h1>{esc(title)}</h1><section><p>{esc(text)}</p></section>"), status)


def card_from(form: dict[str, str]) -> Obj:
    """The card of a posted form. Raises a card error for a date or code that cannot be."""
    expiry = _EXPIRY.match(form.get("expiry", ""))
    if expiry is None:
        raise card_error(
            "Your card's expiration date is incomplete: write it as MM/YY.", code="invalid_expiry", decline_code=None
        )
    if not re.fullmatch(r"\d{3,4}", form.get("cvc", "").strip()):
        raise card_error(
            "Your card's security code is incomplete: it has three or four digits.",
            code="invalid_cvc",
            decline_code=None,
        )
    return {
        "number": form.get("number", ""),
        "exp_month": int(expiry[1]),
        "exp_year": int(expiry[2]),
        "cvc": form["cvc"].strip(),
    }


def _attempt(world: World, act: Callable[[], object]) -> StripeError | None:
    """Run a button's deed in a transaction; the refusal, if there was one."""
    try:
        with world.transaction():
            act()
    except StripeError as error:
        if error.status in (404, 410):
            raise
        return error
    return None


# Checkout


def _checkout(world: World, method: str, session_id: str, form: dict[str, str]) -> Page:
    ends: list[str] = []
    refused: StripeError | None = None
    if method == "POST":

        def pay() -> None:
            session = world.get("checkout.session", session_id)
            email = form.get("email", "").strip()[:512]
            if session["status"] == "open" and not session["customer"] and "@" not in email:
                raise card_error("Your email is incomplete.", code="email_invalid", decline_code=None)
            ends.append(session_pay(world, session, card_from(form), email, form.get("name", "").strip()[:200]))

        refused = _attempt(world, pay)
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
        return _plain("Checkout", words[session["status"]], 200 if session["status"] == "complete" else 410)
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


def _per(price: Obj) -> str:
    if not price["recurring"]:
        return ""
    count = price["recurring"]["interval_count"]
    each = price["recurring"]["interval"] if count == 1 else f"{count} {price['recurring']['interval']}s"
    return f"<br><span class=note>each {esc(each)}</span>"


# Portal


def _portal(world: World, method: str, session_id: str, secret: str, deed: str | None, form: dict[str, str]) -> Page:
    refused: StripeError | None = None
    here = f"/p/session/{session_id}/{secret}"
    if deed is not None:
        if method != "POST":
            return Page("", 303, redirect=here)

        def act() -> None:
            session = portal_session(world, session_id, secret)
            if deed == "card":
                portal_card(world, session, card_from(form))
            elif deed == "pay":
                portal_pay(world, session, form.get("id", ""))
            else:
                portal_cancel(world, session, form.get("id", ""), ending=deed == "cancel")

        refused = _attempt(world, act)
        if refused is None:
            return Page("", 303, redirect=here)
    with world.transaction():
        session = portal_session(world, session_id, secret)
        return _portal_page(world, session, here, refused)


def _portal_page(world: World, session: Obj, here: str, refused: StripeError | None) -> Page:
    customer = world.fetch(session["customer"])
    plans = "".join(_plan_row(world, subscription, here) for subscription in portal_subscriptions(world, session))
    invoices = "".join(
        _invoice_row(invoice, here)
        for invoice in world.find("invoice", customer=customer["id"])[:24]
        if invoice["status"] != "draft"
    )
    back = session["return_url"]
    body = (
        f"<h1>Billing of {esc(customer['name'] or customer['email'] or customer['id'])}</h1>"
        f"{error_box(refused)}"
        + (f'<p><a href="{esc(back)}">Go back</a></p>' if back else "")
        + f"<h2 id=plan>Plan</h2><section>{plans or '<p>No plan at the moment.</p>'}</section>"
        f"<h2 id=card>Card</h2><section>{_card_line(world, session)}"
        f'<form method=post action="{esc(here)}/card">{card_fields()}<button type=submit>Save card</button></form>'
        "</section><h2>Invoices</h2><section>"
        + (
            f"<table><thead><tr><th>Number</th><th>Date</th><th>State</th><th class=num>Amount</th></tr></thead>"
            f"<tbody>{invoices}</tbody></table>"
            if invoices
            else "<p>No invoices yet.</p>"
        )
        + "</section>"
    )
    return Page(document("Billing", body), refused.status if refused else 200)


def _plan_row(world: World, subscription: Obj, here: str) -> str:
    item = subscription["items"]["data"][0]
    product = world.maybe(item["price"]["product"])
    ending = subscription["cancel_at_period_end"]
    deed, words = ("resume", "Keep the plan") if ending else ("cancel", "Cancel at the end of the period")
    when = "Ends" if ending else "Renews"
    return (
        f"<p><strong>{esc(product['name'] if product else item['price']['id'])}</strong>, "
        f"{money(item['price']['unit_amount'] or 0, subscription['currency'])} each "
        f"{esc(item['price']['recurring']['interval'])}. State: {esc(subscription['status'].replace('_', ' '))}. "
        f"{when} on {day(item['current_period_end'])}.</p>"
        f'<form method=post action="{esc(here)}/{deed}"><input type=hidden name=id value="{esc(subscription["id"])}">'
        f"<button class=quiet type=submit>{words}</button></form>"
    )


def _card_line(world: World, session: Obj) -> str:
    mine = [s["default_payment_method"] for s in portal_subscriptions(world, session)]
    method = default_method(world, session["customer"], *mine)
    if method is None:
        return "<p>No card saved.</p>"
    card = method["card"]
    return (
        f"<p>{esc(card['brand'].capitalize())} ending in {esc(card['last4'])}, "
        f"valid until {card['exp_month']:02d}/{card['exp_year']}.</p>"
    )


def _invoice_row(invoice: Obj, here: str) -> str:
    pay = ""
    if invoice["status"] == "open":
        pay = (
            f'<form method=post action="{esc(here)}/pay"><input type=hidden name=id value="{esc(invoice["id"])}">'
            "<button class=quiet type=submit>Pay now</button></form>"
        )
    return (
        f'<tr><td><a href="/i/{esc(invoice["id"])}">{esc(invoice["number"])}</a></td>'
        f"<td>{day(invoice['created'])}</td><td>{esc(invoice['status'])}{pay}</td>"
        f"<td class=num>{money(invoice['total'], invoice['currency'])}</td></tr>"
    )


# Invoice and home


def _invoice(world: World, invoice_id: str) -> Page:
    with world.transaction():
        invoice = world.get("invoice", invoice_id)
    if invoice["status"] == "draft":
        return _plain("Invoice", "This invoice is still a draft.", 404)
    currency = invoice["currency"]
    rows = "".join(
        f"<tr><td>{esc(line['description'] or '')}<br><span class=note>{day(line['period']['start'])} to "
        f"{day(line['period']['end'])}</span></td><td class=num>{money(line['amount'], currency)}</td></tr>"
        for line in invoice["lines"]["data"]
    )
    who = invoice["customer_name"] or invoice["customer_email"] or invoice["customer"]
    body = (
        f"<h1>Invoice {esc(invoice['number'])}</h1><p>{esc(who)}"
        f", {day(invoice['created'])}. State: {esc(invoice['status'])}.</p><section><table><thead><tr><th>Line</th>"
        f"<th class=num>Amount</th></tr></thead><tbody>{rows}<tr class=total><td>Total</td>"
        f"<td class=num>{money(invoice['total'], currency)}</td></tr><tr><td>Due</td>"
        f"<td class=num>{money(invoice['amount_remaining'], currency)}</td></tr></tbody></table></section>"
    )
    return Page(document(f"Invoice {invoice['number']}", body))


def _home(world: World) -> Page:
    with world.transaction():
        events = [world.fetch(event_id) for event_id in world.store.ids("event", limit=40)]
        rows = "".join(
            f"<tr><td><code>{esc(event['type'])}</code></td>"
            f"<td><code>{esc(event['data']['object'].get('id', ''))}</code></td><td>{day(event['created'])}</td></tr>"
            for event in events
        )
        today = day(world.now)
    body = (
        "<h1>Local Stripe emulator</h1><section><p>This server answers the official <code>stripe</code> client. "
        f"Its clock shows {today}. Controls are under <code>/_ctl</code>.</p></section>"
        "<h2>Newest events</h2><section><table><thead><tr><th>Event</th><th>Object</th><th>Day</th></tr></thead>"
        f"<tbody>{rows or '<tr><td colspan=3>Nothing happened yet.</td></tr>'}</tbody></table></section>"
    )
    return Page(document("Local Stripe emulator", body, wide=True))
