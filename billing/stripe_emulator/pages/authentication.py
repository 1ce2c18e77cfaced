"""The page on which a card's owner confirms a payment (3-D Secure), or does not."""

from __future__ import annotations

from billing.stripe_emulator.nouns.authentication import asked, authenticate
from billing.stripe_emulator.pages.forms import attempt, plain
from billing.stripe_emulator.pages.html import Page, document, esc, money, origin
from billing.stripe_emulator.store import Obj
from billing.stripe_emulator.world import World


def authentication(world: World, method: str, intent_id: str, secret: str, deed: str | None) -> Page:
    """Show the question, or take the answer."""
    here = f"/a/{intent_id}/{secret}"
    if deed is not None:
        if method != "POST":
            return Page("", 303, redirect=here)
        ends: list[str] = []
        passed = deed == "complete"
        refused = attempt(
            world, lambda: ends.append(authenticate(world, asked(world, intent_id, secret), passed=passed))
        )
        if refused is not None:
            return plain("Confirm", refused.message, refused.status)
        if ends[0]:
            return Page("", 303, redirect=ends[0])
        return Page("", 303, redirect=here)
    with world.transaction():
        intent = asked(world, intent_id, secret)
        if intent["status"] != "requires_action":
            return plain("Confirm", _said(intent))
        return _page(world, intent, here)


def _said(intent: Obj) -> str:
    if intent["status"] == "succeeded":
        return "You confirmed, and everything is done. You can close this page."
    error = intent.get("last_payment_error") or intent.get("last_setup_error") or {}
    return str(error.get("message", "There is nothing to confirm any more."))


def _page(world: World, intent: Obj, here: str) -> Page:
    what = f"a payment of {money(intent['amount'], intent['currency'])}" if "amount" in intent else "saving your card"
    card = world.fetch(intent["payment_method"])["card"]
    body = (
        f"<h1>Confirm {esc(what)}</h1><section><p>The bank of your {esc(card['brand'].capitalize())} card ending in "
        f"{esc(card['last4'])} asks whether it is you.</p>"
        f'<form method=post action="{esc(here)}/complete"><button class=whole type=submit>Complete authentication'
        f'</button></form><form method=post action="{esc(here)}/fail"><button class="quiet whole" type=submit>'
        "Fail authentication</button></form></section>"
    )
    session = world.maybe(intent.get("_session"))
    ends = session["success_url"] if session is not None else intent["_action"]["return_url"]
    return Page(document("Confirm", body), targets=origin(ends))
