"""What the emulator holds: kinds, objects of a kind, one object with its events and their deliveries."""

from __future__ import annotations

import json
import re

from billing.stripe_emulator.errors import StripeError
from billing.stripe_emulator.pages.controls import (
    authentication_form,
    button,
    dispute_form,
    replay_form,
    test_clock_form,
)
from billing.stripe_emulator.pages.html import Page, document, esc, moment, money
from billing.stripe_emulator.store import CLOCK, Obj
from billing.stripe_emulator.world import World, public

PAGE = 50
EVENTS = 40
_QUOTED = re.compile(r"&quot;([A-Za-z0-9_]{3,120})&quot;")
_SECRETS = ("secret", "client_secret")
# Columns that say most, where a kind has them.
_SUMS = ("amount", "total")
_TELLING = ("status", "customer", "name", "email", "number", "type", "code", "amount", "total", "currency")


def kinds(world: World) -> str:
    """The kinds that there are, with how many of each, as HTML."""
    counts = world.store.counts()["objects"]
    rows = "".join(
        f'<li><a href="/objects/{esc(kind)}">{esc(kind)}</a> <span class=note>{count}</span></li>'
        for kind, count in sorted(counts.items())
    )
    held = f"<ul class=kinds>{rows}</ul>" if rows else "<p>None yet.</p>"
    return f"<h2 id=objects>Objects</h2><section>{held}</section>"


def objects(world: World, kind: str, form: dict[str, str]) -> Page:
    """Objects of one kind, newest first."""
    with world.transaction():
        after = form.get("after")
        if kind not in world.store.counts()["objects"] or (after and world.maybe(after) is None):
            raise StripeError(f"There is no {kind[:60]} here.", status=404)
        ids = world.store.ids(kind, after=after, limit=PAGE + 1)
        found = [world.fetch(object_id) for object_id in ids[:PAGE]]
        columns = [name for name in _TELLING if any(_plain(obj.get(name)) for obj in found)][:4]
        rows = "".join(
            f'<tr><td><a href="/objects/{esc(kind)}/{esc(obj["id"])}"><code>{esc(obj["id"])}</code></a></td>'
            + "".join(_cell(world, obj, name) for name in columns)
            + f'<td data-label="Made">{moment(obj.get("created") or obj.get("date"))}</td></tr>'
            for obj in found
        )
    heads = "".join(f"<th{' class=num' if name in _SUMS else ''}>{esc(name.capitalize())}</th>" for name in columns)
    more = f'<p><a href="/objects/{esc(kind)}?after={esc(ids[PAGE - 1])}">Older ones</a></p>' if ids[PAGE:] else ""
    body = (
        f'<p><a href="/">Front page</a></p><h1>{esc(kind)}</h1>'
        f"<section class=table><table><thead><tr><th>Id</th>{heads}"
        f"<th>Made</th></tr></thead><tbody>{rows}</tbody></table></section>{more}"
    )
    return Page(document(kind, body, wide=True))


def _cell(world: World, obj: Obj, name: str) -> str:
    """One telling field; an amount with its currency, an id of another object as a link."""
    value = obj.get(name)
    shown, right = esc(_plain(value)), ""
    if name in _SUMS and isinstance(value, int) and obj.get("currency"):
        shown, right = esc(money(value, obj["currency"])), " class=num"
    elif name == "customer" and isinstance(value, str) and world.maybe(value):
        shown = f'<a href="/objects/customer/{shown}"><code>{shown}</code></a>'
    return f'<td{right} data-label="{esc(name.capitalize())}">{shown}</td>'


def _plain(value: object) -> str:
    return "" if value is None or isinstance(value, dict | list) else str(value)


def one(world: World, kind: str, object_id: str) -> Page:
    """One object as JSON, what can be done with it, its events."""
    with world.transaction():
        obj = world.get(kind, object_id)
        body = (
            f'<p><a href="/objects/{esc(kind)}">All of this kind</a></p><h1>{esc(kind)}</h1>'
            f"<p><code>{esc(object_id)}</code></p>{_deeds(obj)}"
            f"<h2>JSON</h2><section><pre>{_json(world, obj)}</pre></section>{_events(world, obj)}"
        )
    return Page(document(f"{kind} {object_id}", body, wide=True))


def _deeds(obj: Obj) -> str:
    kind, out = obj["object"], ""
    if kind == "event":
        out = replay_form(obj["id"], _address(obj))
    if kind == "charge" and obj["status"] == "succeeded" and not obj["disputed"]:
        out = dispute_form(obj["id"], _address(obj))
    if kind == "dispute" and obj["status"] not in ("won", "lost"):
        fields = {"dispute": obj["id"], "back": _address(obj)}
        out = "".join(button("verdict", word, {**fields, "status": word.lower()}) for word in ("Won", "Lost"))
    if kind in ("payment_intent", "setup_intent") and obj["status"] == "requires_action":
        out = authentication_form(obj["id"], _address(obj))
    if kind == CLOCK:
        out = test_clock_form(obj["id"], _address(obj))
    links = {"hosted_invoice_url": "Hosted page", "invoice_pdf": "PDF", "url": "Hosted page"}
    for name, words in links.items():
        if kind in ("invoice", "checkout.session", "billing_portal.session") and obj.get(name):
            out += f'<a class=deed href="{esc(obj[name])}">{words}</a> '
    return f"<section class=deeds>{out}</section>" if out else ""


def _address(obj: Obj) -> str:
    return f"/objects/{obj['object']}/{obj['id']}"


def _json(world: World, obj: Obj) -> str:
    """Pretty JSON; ids of other objects are links, secrets are stars."""
    shown = {name: "***" if name in _SECRETS and value else value for name, value in public(obj).items()}

    def link(hit: re.Match[str]) -> str:
        found = world.maybe(hit[1]) if hit[1] != obj["id"] else None
        return f'&quot;<a href="{esc(_address(found))}">{hit[1]}</a>&quot;' if found else hit[0]

    return _QUOTED.sub(link, esc(json.dumps(shown, indent=2, ensure_ascii=False)))


def _events(world: World, obj: Obj) -> str:
    if obj["object"] in ("event", "v2.core.event"):
        events = [obj]
    else:
        events = [world.fetch(event) for event in world.store.ids("event", {"data.object.id": obj["id"]}, limit=EVENTS)]
    rows = "".join(
        f'<tr><td><a href="{esc(_address(event))}">{esc(event["type"])}</a></td>'
        f'<td data-label="When">{moment(event["created"])}</td>'
        f'<td data-label="Deliveries">{_deliveries(world, event["id"])}</td></tr>'
        for event in events
    )
    return (
        "<h2>Events and deliveries</h2><section class=table><table><thead><tr><th>Event</th><th>When</th>"
        f"<th>Deliveries</th></tr></thead><tbody>{rows or '<tr><td colspan=3>None.</td></tr>'}</tbody></table>"
        "</section>"
    )


def _deliveries(world: World, event_id: str) -> str:
    found = world.store.deliveries_of(event_id)
    lines = [
        f"{esc(state)} after {attempt} {'try' if attempt == 1 else 'tries'}"
        + (f"<br><span class=note>{esc(answer[:120])}</span>" if answer else "")
        for state, attempt, answer in found
    ]
    return "<br>".join(lines) or "nobody listened"
