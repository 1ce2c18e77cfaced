"""Which page an address is, and the front page."""

from __future__ import annotations

import re

from billing.stripe_emulator.errors import StripeError
from billing.stripe_emulator.pages.authentication import authentication
from billing.stripe_emulator.pages.checkout import checkout
from billing.stripe_emulator.pages.controls import DEEDS, press, switches
from billing.stripe_emulator.pages.forms import plain
from billing.stripe_emulator.pages.html import Page, document, esc, moment
from billing.stripe_emulator.pages.invoice import invoice, invoice_file, receipt
from billing.stripe_emulator.pages.objects import kinds, objects, one
from billing.stripe_emulator.pages.portal import portal
from billing.stripe_emulator.registry import coverage
from billing.stripe_emulator.store import Obj
from billing.stripe_emulator.world import World

_OBJECTS = re.compile(r"^/objects/([a-z0-9_.]+)(?:/([A-Za-z0-9_.-]+))?$")
_CONTROL = re.compile(r"^/control/([a-z]+)$")
_CHECKOUT = re.compile(r"^/c/pay/(cs_test_[A-Za-z0-9]+)(?:/(promotion))?$")
_PORTAL = re.compile(r"^/p/session/(bps_[A-Za-z0-9]+)/(emu_[A-Za-z0-9]+)(?:/(cancel|resume|card|pay))?$")
_INVOICE = re.compile(r"^/i/(in_[A-Za-z0-9]+)(/pdf)?$")
_RECEIPT = re.compile(r"^/r/(ch_[A-Za-z0-9]+)$")
_AUTHENTICATION = re.compile(r"^/a/((?:pi|seti)_[A-Za-z0-9]+)/([A-Za-z0-9]+)(?:/(complete|fail))?$")


def hosted(world: World, method: str, path: str, form: dict[str, str]) -> Page | None:
    """The page of an address, or None when it is no page's."""
    try:
        with world.in_time_of(re.findall(r"[a-z]+_[A-Za-z0-9_]+", path)):
            return _hosted(world, method, path, form)
    except StripeError as error:
        return plain("This page is not there", error.message, error.status)


def _hosted(world: World, method: str, path: str, form: dict[str, str]) -> Page | None:
    if path == "/" and method == "GET":
        return _home(world)
    if (hit := _OBJECTS.match(path)) and method == "GET":
        return one(world, hit[1], hit[2]) if hit[2] else objects(world, hit[1], form)
    if (hit := _CONTROL.match(path)) and method == "POST" and hit[1] in DEEDS:
        return press(world, hit[1], form)
    if hit := _CHECKOUT.match(path):
        return checkout(world, method, hit[1], hit[2], form)
    if hit := _PORTAL.match(path):
        return portal(world, method, hit[1], hit[2], hit[3], form)
    if (hit := _INVOICE.match(path)) and hit[2]:
        return invoice_file(world, hit[1])
    if hit:
        return invoice(world, method, hit[1], form)
    if (hit := _RECEIPT.match(path)) and method == "GET":
        return receipt(world, hit[1])
    if hit := _AUTHENTICATION.match(path):
        return authentication(world, method, hit[1], hit[2], hit[3])
    return None


def _home(world: World) -> Page:
    calls = coverage().values()
    with world.transaction():
        events = [world.fetch(event_id) for event_id in world.store.ids("event", limit=40)]
        rows = "".join(
            f'<tr><td><a href="/objects/event/{esc(event["id"])}">{esc(event["type"])}</a></td>'
            f'<td data-label="Object">{_subject(world, event["data"]["object"])}</td>'
            f'<td data-label="When">{moment(event["created"])}</td></tr>'
            for event in events
        )
        body = (
            "<h1>Local Stripe emulator</h1><section><p>This server answers the official <code>stripe</code> client: "
            f"{sum(served for served, _ in calls)} of its {sum(known for _, known in calls)} calls. "
            f"Its switches are below, and under <code>/_ctl</code> for programs.</p></section>"
            f"{switches(world)}{kinds(world)}"
            "<h2>Newest events</h2><section class=table><table><thead><tr><th>Event</th><th>Object</th><th>When</th>"
            f"</tr></thead><tbody>{rows or '<tr><td colspan=3>Nothing happened yet.</td></tr>'}</tbody></table>"
            "</section>"
        )
    return Page(document("Local Stripe emulator", body, wide=True))


def _subject(world: World, obj: Obj) -> str:
    found = world.maybe(obj.get("id"))
    if found is None:
        return f"<code>{esc(obj.get('id', ''))}</code>"
    return f'<a href="/objects/{esc(found["object"])}/{esc(found["id"])}"><code>{esc(found["id"])}</code></a>'
