"""Invoices with tax and coupons, credit notes, refunds and disputes: from the webhook to the ledger, to the cent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connections
from django.test import override_settings

from billing.models import CreditNote, Invoice, LedgerTransaction, Refund, StripeEvent
from billing.selectors.bills import balances
from billing.selectors.invariants import findings
from billing.services.ledger import ledger_post
from billing.services.receivables import mirrors_book_all
from billing.stripe_port import stripe_port
from kit.money import CENT
from ops.dashboard import revenue_this_month
from tenants.scope import ops_scope, tenant_scope
from tests.billing.emulated import KEY, SECRET
from tests.billing.stripe_world import Account, World
from tests.billing.test_billing_check import tamper
from tests.conftest import Cast


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    """Objects that the port fetches."""
    with override_settings(STRIPE_SECRET_KEY=KEY, STRIPE_API_BASE="http://127.0.0.1:9", STRIPE_WEBHOOK_SECRET=SECRET):
        stripe_port.cache_clear()
        yield Account(monkeypatch)
    stripe_port.cache_clear()


@pytest.fixture
def world(account: Account, cast: Cast) -> World:
    """The owner's customer."""
    return World(account, cast.owner)


def books(world: World) -> dict[str, int]:
    """Deliver what has not come yet, book it, and read the accounts in cents; every check must hold."""
    for event in world.events:
        assert world.deliver(event) == "done"
    mirrors_book_all()
    tenant_id = world.person.tenant.id
    assert [finding.message for finding in findings([tenant_id])] == []
    with tenant_scope(tenant_id):
        found = {account: amount for account, amount in balances().items() if amount}
    assert all(amount % CENT == 0 for amount in found.values())
    return {account: amount // CENT for account, amount in found.items()}


def transactions(world: World) -> list[tuple[str, str]]:
    with tenant_scope(world.person.tenant.id):
        return list(LedgerTransaction.objects.order_by("at", "pk").values_list("kind", "key"))


def test_tax_is_owed_to_the_state_and_a_coupon_is_a_discount(world: World) -> None:
    world.invoice(2_900, coupon=900, on_top=380)
    assert books(world) == {"receivable": 2_380, "subscription_revenue": -2_900, "discount": 900, "tax": -380}


def test_tax_inside_the_price_is_no_revenue(world: World) -> None:
    world.invoice(2_900, inside=463)
    assert books(world) == {"receivable": 2_900, "subscription_revenue": -2_437, "tax": -463}


def test_a_part_payment_is_cash_at_once_and_the_rest_stays_open(world: World) -> None:
    invoice = world.invoice(2_900)
    world.pay(invoice, 1_000)
    assert books(world) == {"receivable": 1_900, "cash": 1_000, "subscription_revenue": -2_900}
    world.pay(invoice, 1_900, outside=True)
    assert books(world) == {"bank": 1_900, "cash": 1_000, "subscription_revenue": -2_900}
    assert transactions(world) == [
        ("invoice", invoice["id"]),
        ("payment", invoice["id"]),
        ("payment", f"{invoice['id']}/2"),
    ]


def test_an_invoice_marked_as_paid_of_which_stripe_saw_nothing_was_paid_past_it(world: World) -> None:
    invoice = world.invoice(2_900)
    invoice.update(status="paid", amount_remaining=0)
    assert books(world) == {"bank": 2_900, "subscription_revenue": -2_900}


def test_what_is_paid_too_much_is_the_customers(world: World) -> None:
    invoice = world.invoice(2_900)
    invoice.update(status="paid", amount_paid=3_000, amount_remaining=0, amount_overpaid=100)
    assert books(world) == {"cash": 3_000, "customer_balance": -100, "subscription_revenue": -2_900}


def test_credit_of_one_invoice_pays_the_next(world: World) -> None:
    first = world.invoice(2_900)
    world.pay(first, 2_900)
    world.credit(first, 1_000)
    assert books(world)["customer_balance"] == -1_000
    second = world.invoice(2_900)
    assert second["amount_due"] == 1_900
    assert books(world) == {"cash": 2_900, "credit": 1_000, "receivable": 1_900, "subscription_revenue": -5_800}
    world.void(second)
    assert books(world) == {
        "cash": 2_900,
        "customer_balance": -1_000,
        "credit": 3_900,
        "subscription_revenue": -5_800,
    }


def test_a_void_invoice_owes_no_tax(world: World) -> None:
    world.void(world.invoice(2_900, on_top=551))
    assert books(world) == {"credit": 2_900, "subscription_revenue": -2_900}


def test_an_invoice_given_up_and_paid_after_all_is_no_loss(world: World) -> None:
    invoice = world.invoice(2_900)
    world.give_up(invoice)
    assert books(world) == {"bad_debt": 2_900, "subscription_revenue": -2_900}
    world.pay(invoice, 2_900)
    assert books(world) == {"cash": 2_900, "subscription_revenue": -2_900}


def test_a_credit_note_before_payment_lowers_what_is_owed_with_its_tax(world: World) -> None:
    invoice = world.invoice(2_000, on_top=380)
    world.credit(invoice, 1_190)
    assert books(world) == {"receivable": 1_190, "credit": 1_000, "subscription_revenue": -2_000, "tax": -190}


def test_a_credit_note_after_payment_goes_back_by_card_by_bank_and_as_balance(world: World) -> None:
    invoice = world.invoice(2_000, on_top=380)
    world.pay(invoice, 2_380)
    world.credit(invoice, 1_190, refund=500, outside=400)
    assert books(world) == {
        "cash": 1_880,
        "bank": -400,
        "customer_balance": -290,
        "credit": 1_000,
        "subscription_revenue": -2_000,
        "tax": -190,
    }


def test_several_refunds_without_a_note_stand_by_themselves_until_one_fails(world: World) -> None:
    world.pay(world.invoice(2_900), 2_900)
    world.refund(900)
    second = world.refund(2_000, status="pending")
    assert books(world) == {"refund": 2_900, "subscription_revenue": -2_900}
    world.refund_fails(second)
    assert books(world) == {"cash": 2_000, "refund": 900, "subscription_revenue": -2_900}


@pytest.mark.parametrize(("won", "end"), [(True, {"cash": 2_900}), (False, {"bad_debt": 2_900})])
def test_a_disputed_payment_is_held_by_the_bank_until_it_decides(world: World, won: bool, end: dict[str, int]) -> None:
    world.pay(world.invoice(2_900), 2_900)
    dispute = world.dispute(2_900)
    assert books(world) == {"dispute": 2_900, "subscription_revenue": -2_900}
    world.dispute_ends(dispute, won=won)
    assert books(world) == end | {"subscription_revenue": -2_900}


def test_an_inquiry_takes_no_money(world: World) -> None:
    world.pay(world.invoice(2_900), 2_900)
    world.dispute_ends(world.dispute(2_900, inquiry=True), won=False)
    assert books(world) == {"cash": 2_900, "subscription_revenue": -2_900}


def test_another_currency_is_never_booked_and_is_told(world: World, capsys: Any) -> None:
    tenant_id = world.person.tenant.id
    invoice = world.invoice(2_900, currency="chf")
    world.deliver(world.events[0])
    mirrors_book_all()
    assert mirrors_book_all() == 0, "looked at once, not every minute"
    with tenant_scope(tenant_id):
        assert balances() == {}
        assert Invoice.objects.get().currency == "chf"
    with pytest.raises(SystemExit):
        call_command("billing_check", tenant=[tenant_id])
    said = capsys.readouterr().out
    assert f"invoice {invoice['id']} is not in the books: It is in CHF" in said
    invoice["currency"] = world.currency
    world._save(invoice, "invoice.updated")
    assert books(world) == {"receivable": 2_900, "subscription_revenue": -2_900}


def test_an_invoice_that_does_not_add_up_is_not_booked(world: World) -> None:
    invoice = world.invoice(2_900)
    invoice["total"] = 2_800
    world.deliver(world.events[0])
    mirrors_book_all()
    assert {f.check for f in findings([world.person.tenant.id])} == {"objects_can_be_booked"}


def test_what_an_earlier_reading_booked_wrongly_is_put_right_by_one_more_transaction(world: World) -> None:
    invoice = world.invoice(2_900, on_top=551)
    world.give_up(invoice)
    with tenant_scope(world.person.tenant.id):  # tax as revenue, and a loss as goodwill: as it was once done
        owed = 3_451 * CENT
        ledger_post(kind="invoice", key=invoice["id"], entries={"receivable": owed, "subscription_revenue": -owed})
        ledger_post(kind="loss", key=invoice["id"], entries={"credit": owed, "receivable": -owed})
    assert books(world) == {"bad_debt": 3_451, "subscription_revenue": -2_900, "tax": -551}
    assert [key for _, key in transactions(world)] == [invoice["id"]] * 2 + [f"{invoice['id']}/2"] * 2


def test_two_workers_book_an_invoice_once(world: World) -> None:
    invoice = world.invoice(2_900)
    world.pay(invoice, 2_900)
    for event in world.events:
        world.deliver(event)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: in_a_thread(mirrors_book_all), range(4)))
    assert books(world) == {"cash": 2_900, "subscription_revenue": -2_900}
    assert len(transactions(world)) == 2


def in_a_thread(work: Callable[[], int]) -> None:
    """With connections of its own, closed after."""
    try:
        work()
    finally:
        connections.close_all()


def test_staff_see_revenue_less_what_was_taken_off_it(world: World) -> None:
    with ops_scope("read revenue"):
        before = revenue_this_month()["usd"]
    invoice = world.invoice(2_900, coupon=400, on_top=475)
    world.pay(invoice, invoice["amount_remaining"])
    world.refund(500)
    books(world)
    with ops_scope("read revenue"):
        after = revenue_this_month()["usd"]
    grown = {name: (after[name] - before[name]) // CENT for name in after}
    assert grown == {
        "usage_revenue": 0,
        "subscription_revenue": 2_900,
        "contract_revenue": 0,
        "taken_off": -900,
        "total": 2_000,
    }


def test_a_refund_of_a_stranger_is_parked_and_of_nobody_ignored(account: Account, world: World) -> None:
    mine = world.refund(100)
    mine["charge"]["customer"] = "cus_nobody_knows"
    assert world.deliver(world.events[0]) == "parked"
    del account.objects[mine["id"]]
    world.events[0]["id"] += "_again"
    assert world.deliver(world.events[0]) == "ignored"
    assert StripeEvent.objects.get(event_id=world.events[0]["id"]).customer_id == ""


def test_mirrors_belong_to_their_tenant(world: World, cast: Cast) -> None:
    invoice = world.invoice(2_900)
    world.pay(invoice, 2_900)
    world.credit(invoice, 500, refund=500)
    books(world)
    with tenant_scope(cast.stranger.tenant.id):
        assert not Refund.objects.exists() and not CreditNote.objects.exists()
    with ops_scope("look at both"):
        assert Refund.ops.get(stripe_id=world.made("refund")[0]["id"]).tenant_id == world.person.tenant.id


@pytest.mark.parametrize(
    ("table", "change", "check"),
    [
        ("billing_ledgerentry", "amount_nano = amount_nano + 1", "bookings_are_what_stripe_says"),
        ("billing_ledgerentry", "amount_nano = amount_nano + 1", "transactions_balance"),
        ("billing_ledgerentry", "account = 'cash' WHERE account = 'bank'", "cash_is_what_stripe_took"),
        ("billing_ledgerentry", "account = 'credit' WHERE account = 'tax'", "tax_is_what_was_asked"),
        ("billing_invoice", "amount_paid = amount_paid - 1", "bookings_are_what_stripe_says"),
        ("billing_invoice", "raw = jsonb_set(raw, '{amount_remaining}', '1001')", "receivable_is_what_is_open"),
        ("billing_creditnote", "raw = jsonb_set(raw, '{total_taxes}', '[]')", "tax_is_what_was_asked"),
        ("billing_refund", "amount = amount + 1", "cash_is_what_stripe_took"),
        ("billing_paymentdispute", "status = 'won'", "cash_is_what_stripe_took"),
        ("billing_refund", "booked_at = NULL, fetched_at = now() - interval '2 hours'", "objects_are_booked_soon"),
    ],
)
def test_what_is_not_as_stripe_says_is_found(world: World, table: str, change: str, check: str) -> None:
    invoice = world.invoice(2_900, on_top=551)
    world.pay(invoice, 1_000)
    world.pay(invoice, 451, outside=True)
    world.credit(invoice, 500)
    world.refund(200)
    world.dispute(300)
    books(world)
    tamper(world.person.tenant.id, table, change)
    assert check in {finding.check for finding in findings([world.person.tenant.id])}
