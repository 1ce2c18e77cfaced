"""What the books read of Stripe's objects, held against the types of the installed SDK."""

from __future__ import annotations

import re
from typing import Any

import pytest
import stripe

from billing.ledger import stripe_books
from tests.billing.stripe_world import Account, World
from tests.conftest import Cast

TYPES: dict[str, Any] = {
    "invoice": stripe.Invoice,
    "credit_note": stripe.CreditNote,
    "refund": stripe.Refund,
    "dispute": stripe.Dispute,
}


def states(kind: str) -> set[str]:
    """The states the SDK names; its annotations are text, and some refer to what is only there for type checkers."""
    return set(re.findall(r"""["']([a-z_]+)["']""", str(TYPES[kind].__annotations__["status"])))


def test_every_state_of_a_dispute_has_a_place_in_the_books() -> None:
    assert states("dispute") == {*stripe_books.WITHDRAWN, *stripe_books.HARMLESS, "lost"}


def test_every_state_of_an_invoice_and_a_credit_note_is_one_we_know() -> None:
    assert states("invoice") == {*stripe_books.ISSUED, "draft"}
    assert states("credit_note") == {"issued", "void"}


def test_the_objects_of_our_tests_have_fields_that_stripes_have(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(Account(monkeypatch), cast.owner)
    invoice = world.invoice(2_900, coupon=500, on_top=456)
    world.pay(invoice, 1_000, outside=True)
    world.pay(invoice, invoice["amount_remaining"])
    world.credit(invoice, 500, refund=100, outside=100)
    world.dispute(100)
    for kind, described in TYPES.items():
        found = world.made(kind)
        assert found
        unknown = {name for one in found for name in one} - set(described.__annotations__)
        assert unknown == set(), kind
