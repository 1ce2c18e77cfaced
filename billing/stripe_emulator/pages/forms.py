"""What the hosted pages share: a card from a form, a button's deed, a page of one sentence."""

from __future__ import annotations

import re
from collections.abc import Callable

from billing.stripe_emulator.errors import StripeError, card_error
from billing.stripe_emulator.pages.html import Page, document, esc
from billing.stripe_emulator.store import Obj
from billing.stripe_emulator.world import World

_EXPIRY = re.compile(r"^\s*(\d{1,2})\s*[/\- ]?\s*(\d{2}|\d{4})\s*$")


def plain(title: str, text: str, status: int = 200) -> Page:
    """A page that says one thing."""
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


def attempt(world: World, act: Callable[[], object]) -> StripeError | None:
    """Run a button's deed in a transaction; the refusal, if there was one."""
    try:
        with world.transaction():
            act()
    except StripeError as error:
        if error.status in (404, 410):
            raise
        return error
    return None
