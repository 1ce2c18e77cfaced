"""Which page an address is, and the front page."""

from __future__ import annotations

import re

from billing.stripe_emulator.errors import StripeError
from billing.stripe_emulator.pages.authentication import authentication
from billing.stripe_emulator.pages.checkout import checkout
from billing.stripe_emulator.pages.forms import plain
from billing.stripe_emulator.pages.html import Page, day, document, esc
from billing.stripe_emulator.pages.invoice import invoice
from billing.stripe_emulator.pages.portal import portal
from billing.stripe_emulator.world import World

_CHECKOUT = re.compile(r"^/c/pay/(cs_test_[A-Za-z0-9]+)(?:/(promotion))?$")
_PORTAL = re.compile(r"^/p/session/(bps_[A-Za-z0-9]+)/(emu_[A-Za-z0-9]+)(?:/(cancel|resume|card|pay))?$")
_INVOICE = re.compile(r"^/i/(in_[A-Za-z0-9]+)$")
_AUTHENTICATION = re.compile(r"^/a/((?:pi|seti)_[A-Za-z0-9]+)/([A-Za-z0-9]+)(?:/(complete|fail))?$")


def hosted(world: World, method: str, path: str, form: dict[str, str]) -> Page | None:
    """The page of an address, or None when it is no page's."""
    try:
        if path == "/" and method == "GET":
            return _home(world)
        if hit := _CHECKOUT.match(path):
            return checkout(world, method, hit[1], hit[2], form)
        if hit := _PORTAL.match(path):
            return portal(world, method, hit[1], hit[2], hit[3], form)
        if hit := _INVOICE.match(path):
            return invoice(world, method, hit[1], form)
        if hit := _AUTHENTICATION.match(path):
            return authentication(world, method, hit[1], hit[2], hit[3])
    except StripeError as error:
        return plain("This page is not there", error.message, error.status)
    return None


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
