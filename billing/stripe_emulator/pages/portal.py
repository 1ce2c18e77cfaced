"""The customer portal's page."""

from __future__ import annotations

from billing.stripe_emulator.errors import StripeError
from billing.stripe_emulator.nouns.payment_methods import default_method
from billing.stripe_emulator.nouns.portal import (
    portal_cancel,
    portal_card,
    portal_pay,
    portal_session,
    portal_subscriptions,
)
from billing.stripe_emulator.pages.forms import attempt, card_from
from billing.stripe_emulator.pages.html import Page, card_fields, day, document, error_box, esc, money
from billing.stripe_emulator.store import Obj
from billing.stripe_emulator.world import World


def portal(world: World, method: str, session_id: str, secret: str, deed: str | None, form: dict[str, str]) -> Page:
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

        refused = attempt(world, act)
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
    items = subscription["items"]["data"]
    ending = subscription["cancel_at_period_end"]
    deed, words = ("resume", "Keep the plan") if ending else ("cancel", "Cancel at the end of the period")
    when = "Ends" if ending else "Renews"
    return (
        f"<p>{'<br>'.join(_item_words(world, item, subscription['currency']) for item in items)}</p>"
        f"<p>State: {esc(subscription['status'].replace('_', ' '))}. "
        f"{when} on {day(items[0]['current_period_end'])}.</p>"
        f'<form method=post action="{esc(here)}/{deed}"><input type=hidden name=id value="{esc(subscription["id"])}">'
        f"<button class=quiet type=submit>{words}</button></form>"
    )


def _item_words(world: World, item: Obj, currency: str) -> str:
    product = world.maybe(item["price"]["product"])
    many = f"{item['quantity']} × " if item["quantity"] > 1 else ""
    return (
        f"<strong>{many}{esc(product['name'] if product else item['price']['id'])}</strong>, "
        f"{money(item['price']['unit_amount'] or 0, currency)} each {esc(item['price']['recurring']['interval'])}."
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
