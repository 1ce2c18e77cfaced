"""Search, single items of subscriptions, lines of drafts."""

import uuid
from typing import Any

import pytest
import stripe

from tests.billing.emulated import Emulator


@pytest.fixture(scope="module")
def people(emulator: Emulator) -> tuple[str, list[str]]:
    """Three customers with a mark of their own: Ada, Bob, and Ada with quotes in her name."""
    mark = uuid.uuid4().hex
    names = ["Ada", "Bob", 'Ada "the first"']
    made = [
        emulator.v1.customers.create({"name": name, "email": f"{number}@{mark}.org", "metadata": {"run": mark}})
        for number, name in enumerate(names)
    ]
    return mark, [one.id for one in made]


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("name:'ada'", [0]),
        ('name:"ADA"', [0]),
        ('name~"ada"', [2, 0]),
        ('-name~"ada"', [1]),
        ('name:"Ada \\"the first\\""', [2]),
        ("phone:null", [2, 1, 0]),
        ('-metadata["other"]:null', []),
        ("created>1000 created<9999999999", [2, 1, 0]),
        ("created:5", []),
    ],
)
def test_a_query_finds_what_it_says(emulator: Emulator, people: tuple[str, list[str]], query: str, wanted: Any) -> None:
    mark, ids = people
    found = emulator.v1.customers.search({"query": f'metadata["run"]:"{mark}" AND {query}'})
    assert [one.id for one in found.data] == [ids[number] for number in wanted]


def test_or_takes_either_and_pages_go_on(emulator: Emulator, people: tuple[str, list[str]]) -> None:
    mark, ids = people
    query = f'email:"0@{mark}.org" OR email:"1@{mark}.org" OR email:"2@{mark}.org"'
    first = emulator.v1.customers.search({"query": query, "limit": 2})
    assert (first.has_more, [one.id for one in first.data]) == (True, [ids[2], ids[1]])
    assert [one.id for one in first.auto_paging_iter()] == ids[::-1]


@pytest.mark.parametrize(
    "query",
    [
        "",
        "ada",
        "name:",
        'name:"ada',
        'shoe:"42"',
        "metadata:5",
        'name["a"]:"b"',
        "created:soon",
        'created:"soon"',
        'name>"a"',
        'name~"ad"',
        'created~"123"',
        'name:"a" AND name:"b" OR name:"c"',
        'name:"a" XOR name:"b"',
        " AND ".join(['name:"a"'] * 11),
    ],
)
def test_a_query_that_is_none_is_refused(emulator: Emulator, query: str) -> None:
    with pytest.raises(stripe.InvalidRequestError) as caught:
        emulator.v1.customers.search({"query": query})
    assert caught.value.http_status == 400


def test_subscriptions_invoices_and_prices_are_found(emulator: Emulator) -> None:
    made = emulator.subscribe(3100, metadata={"tenant": "t-1"})
    query = f'subscription:"{made.id}" AND total>=3100 AND status:"paid"'
    assert [one.id for one in emulator.v1.invoices.search({"query": query}).data] == [made.latest_invoice]
    found = emulator.v1.subscriptions.search({"query": 'metadata["tenant"]:"t-1" AND -status:"canceled"'})
    assert made.id in [one.id for one in found.data]
    price = made["items"]["data"][0]["price"]
    query = f'product:"{price["product"]}" AND active:"true" AND type:"recurring"'
    assert [one.id for one in emulator.v1.prices.search({"query": query}).data] == [price["id"]]


def test_an_item_is_added_changed_and_taken_out_with_prorations(clockwork: Emulator) -> None:
    made = clockwork.subscribe(3000)
    clockwork.advance(days=15)
    seats = clockwork.price(1000).id
    item = clockwork.v1.subscription_items.create({"subscription": made.id, "price": seats, "quantity": 2})
    waiting = clockwork.v1.invoice_items.list({"customer": str(made.customer), "pending": True}).data
    assert 900 < sum(one.amount for one in waiting) < 1100
    assert clockwork.v1.subscription_items.update(item.id, {"metadata": {"a": "b"}}).metadata.to_dict() == {"a": "b"}
    clockwork.v1.subscription_items.update(item.id, {"quantity": 4, "proration_behavior": "none"})
    assert clockwork.v1.subscription_items.retrieve(item.id).quantity == 4
    clockwork.v1.subscription_items.delete(item.id, {"proration_behavior": "none"})
    assert len(clockwork.v1.subscription_items.list({"subscription": made.id}).data) == 1
    last = made["items"]["data"][0]["id"]
    with pytest.raises(stripe.InvalidRequestError, match="at least one"):
        clockwork.v1.subscription_items.delete(last)
    with pytest.raises(stripe.InvalidRequestError) as caught:
        clockwork.v1.subscription_items.delete("si_nobody")
    assert caught.value.http_status == 404


def test_lines_of_a_draft_are_added_changed_and_taken_out(emulator: Emulator) -> None:
    customer = emulator.customer().id
    waiting = emulator.v1.invoice_items.create({"customer": customer, "amount": 400, "currency": "usd"})
    draft = emulator.v1.invoices.create({"customer": customer})
    lines: Any = [{"invoice_item": waiting.id}, {"amount": 100, "description": "One"}, {"amount": 50}]
    draft = emulator.v1.invoices.add_lines(draft.id, {"lines": lines})
    assert draft.total == 550
    ids = [line.id for line in draft.lines.data]
    draft = emulator.v1.invoices.update_lines(draft.id, {"lines": [{"id": ids[1], "amount": 200}]})
    assert draft.total == 650
    emulator.v1.invoices.line_items.update(draft.id, ids[2], {"description": "Two"})
    gone: Any = [{"id": ids[0], "behavior": "unassign"}, {"id": ids[2], "behavior": "delete"}]
    draft = emulator.v1.invoices.remove_lines(draft.id, {"lines": gone})
    assert draft.total == 200
    still = emulator.v1.invoice_items.list({"customer": customer, "pending": True}).data
    assert [one.id for one in still] == [waiting.id]
    emulator.v1.invoices.finalize_invoice(draft.id)
    with pytest.raises(stripe.InvalidRequestError, match="draft"):
        emulator.v1.invoices.add_lines(draft.id, {"lines": lines[1:]})


def test_a_payment_made_elsewhere_pays_an_invoice(emulator: Emulator) -> None:
    customer = emulator.customer()
    draft = emulator.v1.invoices.create({"customer": customer.id})
    emulator.v1.invoices.add_lines(draft.id, {"lines": [{"amount": 900}]})
    emulator.v1.invoices.finalize_invoice(draft.id)
    card = {"payment_method": "pm_card_visa", "confirm": True, "currency": "usd"}
    small, right = (emulator.v1.payment_intents.create({**card, "amount": amount}) for amount in (800, 900))
    with pytest.raises(stripe.InvalidRequestError, match="exactly what is due"):
        emulator.v1.invoices.attach_payment(draft.id, {"payment_intent": small.id})
    paid = emulator.v1.invoices.attach_payment(draft.id, {"payment_intent": right.id})
    assert (paid.status, paid.amount_remaining) == ("paid", 0)
    payment = emulator.v1.invoice_payments.list({"invoice": draft.id, "status": "paid"}).data[0]
    assert payment.payment.payment_intent == right.id
