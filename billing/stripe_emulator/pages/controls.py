"""The switches of `/_ctl` as buttons: each posts here, runs the same control, and goes back."""

from __future__ import annotations

import re

from billing.stripe_emulator.control import control
from billing.stripe_emulator.deliveries import MODES
from billing.stripe_emulator.errors import StripeError
from billing.stripe_emulator.nouns.cards import REFUSALS
from billing.stripe_emulator.nouns.disputes import REASONS
from billing.stripe_emulator.pages.forms import plain
from billing.stripe_emulator.pages.html import Page, esc, moment
from billing.stripe_emulator.store import Obj
from billing.stripe_emulator.world import World

DEEDS = (
    "clock",
    "decline",
    "mode",
    "release",
    "dunning",
    "replay",
    "dispute",
    "verdict",
    "authentication",
    "testclock",
)
SPANS = {"an hour": 3600, "a day": 86400, "3 days": 259200, "a week": 604800, "31 days": 2678400, "a year": 31622400}
_BACK = re.compile(r"^/objects/[a-z0-9_.]+/[A-Za-z0-9_]+$")


def press(world: World, deed: str, form: dict[str, str]) -> Page:
    """Do what a button says, and show the page it was on again."""
    path, given = _call(deed, form)
    try:
        control(world, "POST", f"/_ctl/{path}", given)
    except StripeError as error:
        return plain("That did not work", error.message, error.status)
    back = form.get("back", "")
    return Page("", 303, redirect=back if _BACK.match(back) else "/")


def _call(deed: str, form: dict[str, str]) -> tuple[str, Obj]:
    """The control's path and body. Numbers that are none become null, which the control refuses in words."""
    if deed == "clock":
        return "clock", {"advance": _number(form.get("advance"))}
    if deed == "testclock":
        return f"test_clocks/{_id(form, 'clock')}", {"advance": _number(form.get("advance"))}
    if deed == "decline":
        return "payments/fail", {"decline_code": form.get("decline_code", ""), "count": _number(form.get("count"))}
    if deed == "mode":
        return "deliveries", {"mode": form.get("mode")}
    if deed == "release":
        return "deliveries/release", {"order": form.get("order", "same")}
    if deed == "dunning":
        return "dunning", {"end": form.get("end")}
    if deed == "replay":
        return f"events/{_id(form, 'event')}/replay", {}
    if deed == "dispute":
        return "disputes", {"charge": form.get("charge"), "reason": form.get("reason", "")}
    if deed == "verdict":
        return f"disputes/{_id(form, 'dispute')}/close", {"status": form.get("status")}
    return f"authentications/{_id(form, 'intent')}", {"outcome": form.get("outcome")}


def _number(text: str | None) -> int | None:
    return int(text) if text and re.fullmatch(r"\d{1,12}", text) else None


def _id(form: dict[str, str], name: str) -> str:
    return re.sub(r"\W", "", form.get(name, "")) or "none"


def switches(world: World) -> str:
    """The switches of the front page, and how they stand."""
    state = control(world, "GET", "/_ctl", {})
    waiting = state["planned_refusals"]
    sent = ", ".join(f"{count} {name}" for name, count in sorted(state["deliveries"].items())) or "none yet"
    return (
        "<h2 id=switches>Switches</h2><section class=deeds>"
        f"<p>The clock shows {moment(state['now'])}. Refusals waiting: {len(waiting)}. Deliveries: {esc(sent)}; they "
        f"are in the mode <strong>{esc(state['deliveries_mode'])}</strong>. After the last retry a subscription is "
        f"<strong>{esc(state['dunning_end'])}</strong>.</p>"
        + _form("clock", "Advance the clock", _select("advance", {str(s): words for words, s in SPANS.items()}, "By"))
        + _form(
            "decline",
            "Refuse the next payments",
            _select("decline_code", {name: name.replace("_", " ") for name in REFUSALS}, "Reason")
            + "<label>How many <input name=count type=number min=1 max=100 value=1 required></label>",
        )
        + _form("mode", "Set the mode", _select("mode", {m: m for m in MODES}, "Deliveries", state["deliveries_mode"]))
        + _form("release", "Release held events", _select("order", _ORDERS, "Order"))
        + _form("dunning", "Set the end", _select("end", _ENDS, "After the last retry", state["dunning_end"]))
        + "</section>"
    )


_ORDERS = {"same": "as they came", "reverse": "newest first", "shuffle": "shuffled"}
_ENDS = {"canceled": "canceled", "unpaid": "unpaid"}


def _form(deed: str, words: str, fields: str) -> str:
    return (
        f'<form class=row method=post action="/control/{deed}">{fields}'
        f"<button class=quiet type=submit>{words}</button></form>"
    )


def _select(name: str, options: dict[str, str], label: str, chosen: str = "") -> str:
    rows = "".join(
        f'<option value="{esc(value)}"{" selected" if value == chosen else ""}>{esc(words)}</option>'
        for value, words in options.items()
    )
    return f"<label>{label} <select name={name}>{rows}</select></label>"


def button(deed: str, words: str, fields: dict[str, str]) -> str:
    """One button with what it sends."""
    return _form(deed, words, _hidden(fields))


def _hidden(fields: dict[str, str]) -> str:
    return "".join(f'<input type=hidden name="{esc(name)}" value="{esc(value)}">' for name, value in fields.items())


def replay_form(event_id: str, back: str) -> str:
    """Send an event once more."""
    return button("replay", "Deliver it again", {"event": event_id, "back": back})


def dispute_form(charge_id: str, back: str) -> str:
    """Let the bank take a charge back."""
    reasons = _select("reason", {name: name.replace("_", " ") for name in REASONS}, "Reason", "fraudulent")
    return _form("dispute", "Open a dispute", reasons + _hidden({"charge": charge_id, "back": back}))


def test_clock_form(clock_id: str, back: str) -> str:
    """Let it be later for the customers of a test clock."""
    spans = _select("advance", {str(s): words for words, s in SPANS.items()}, "By")
    return _form("testclock", "Advance this clock", spans + _hidden({"clock": clock_id, "back": back}))


def authentication_form(intent_id: str, back: str) -> str:
    """Answer for the owner of the card."""
    fields = {"intent": intent_id, "back": back}
    return button("authentication", "Complete authentication", {**fields, "outcome": "complete"}) + button(
        "authentication", "Fail authentication", {**fields, "outcome": "fail"}
    )
