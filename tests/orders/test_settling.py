"""What was credited of an order's invoice, bank transfers, and where both stand in the books."""

import datetime as dt
import threading
from typing import Any

from django.db import connections

import config.celery  # noqa: F401 - doorbells ring somewhere
from billing.economics import lifetime
from billing.ledger.stripe_books import UsageOn, invoice_issued, invoice_sums
from billing.models import BillingFinding, Invoice, LedgerEntry, StripeCommand
from billing.periods import month_of
from billing.selectors.invariants import findings
from billing.selectors.recurring import revenue_by_month, revenue_by_tenant
from billing.selectors.subscriptions import customer_current
from billing.services.commands import commands_send
from billing.services.findings import commands_look
from billing.services.ledger import ledger_post
from billing.services.mirror import invoice_mirror
from billing.services.receivables import mirrors_book_all
from kit.clock import now
from orders.models import OrderInvoice, OrderTransfer
from orders.selectors import Account, account_of, contract_of
from orders.services import invoices_make, invoices_settle
from tenants.models import AuditEvent
from tenants.scope import ops_scope, tenant_scope
from tests.billing.emulated import Emulator
from tests.conftest import Person, make_person
from tests.isolation.orders import accepted, granted
from tests.orders.test_contracts import invoices, pay
from tests.orders.test_invoicing import asked, credit, only
from tests.orders.test_orders import WHY, kinds, row_of

NANO = 10**9
CENT = 10**7


def sent(person: Person) -> tuple[Any, OrderInvoice]:
    """An order whose deposit of $3,300 of $11,000 was invoiced."""
    order = accepted(person)
    invoices_make(tenant_id=person.tenant.id)
    return order, invoices(person, order)[0]


def settle(staff: Person, row: OrderInvoice, way: str) -> Any:
    """By the deed."""
    return staff.browser.post(f"/staff/orders/orderinvoice/{row.pk}/settle/", {"way": way, "reason": WHY})


def account(person: Person, order: Any) -> Account:
    """What the order knows of its money."""
    with tenant_scope(person.tenant.id):
        contract = contract_of(order)
        assert contract is not None
        return account_of(contract, asked(person, order))


def transfer(staff: Person, row: OrderInvoice, **changes: str) -> Any:
    """By the deed."""
    body = {"reference": "SEPA 4711", "amount": "3300.00", "received_on": f"{now().date()}", "reason": WHY}
    return staff.browser.post(f"/staff/orders/orderinvoice/{row.pk}/transfer/", body | changes)


def books(person: Person) -> dict[str, int]:
    """Accounts in cents; nothing is wrong with them."""
    mirrors_book_all()
    assert list(findings([person.tenant.id])) == []
    sums: dict[str, int] = {}
    with tenant_scope(person.tenant.id):
        for account_name, nano in LedgerEntry.objects.values_list("account", "amount_nano"):
            sums[account_name] = sums.get(account_name, 0) + nano
    return {name: nano // CENT for name, nano in sums.items() if nano}


def test_a_credited_part_that_is_waived_lets_the_work_begin(ada: Person, staff: Person, stripe_house: Emulator) -> None:
    order, row = sent(ada)
    assert settle(staff, row, "waive").status_code == 422, "nothing was credited"
    credit(ada, staff, row, "300.00")
    page = ada.browser.get(f"{ada.workspace}/orders/{order.public_id}/").content.decode()
    assert "$3,000.00 is to be paid" in page and "$300.00 credited" in page
    assert settle(staff, row, "waive").status_code == 302
    assert settle(staff, row, "waive").status_code == 422, "once"
    assert account(ada, order) == Account(total=1_100_000, paid=0, waived=30_000, invoiced=300_000)
    pay(ada, stripe_house, row.stripe_id)
    invoices_settle()
    assert row_of(ada, order).state == "working" and only(ada, order).paid_at is not None
    found = account(ada, order)
    assert (found.paid, found.owed, found.invoiced) == (300_000, 770_000, 0)
    told = ada.api.get(f"/v1/orders/{order.public_id}").json()["account"]
    assert (told["owed_cents"], told["waived_cents"]) == (770_000, 30_000)
    assert kinds(ada, order).count("invoice.credited") == 1
    desk = staff.browser.get(f"/staff/orders/order/{order.pk}/change/").content.decode()
    assert "still owed $7,700.00 of $11,000.00" in desk
    with tenant_scope(ada.tenant.id):
        assert AuditEvent.objects.filter(action="order.credit_settled", target_id=order.public_id).count() == 1


def test_a_credited_part_that_is_still_owed_is_asked_for_by_another_invoice(
    ada: Person, staff: Person, stripe_house: Emulator
) -> None:
    order, row = sent(ada)
    credit(ada, staff, row, "300.00")
    pay(ada, stripe_house, row.stripe_id)
    invoices_settle()
    assert row_of(ada, order).state == "accepted" and "Decide" in only(ada, order).problem
    assert settle(staff, row, "again").status_code == 302
    invoices_settle()
    assert row_of(ada, order).state == "working", "the rest of the deposit was paid"
    assert account(ada, order) == Account(total=1_100_000, paid=300_000, waived=0, invoiced=30_000)
    commands_send(ada.tenant.id)
    rest = invoices(ada, order)[1]
    assert (rest.kind, rest.cents) == ("rest", 30_000)
    assert stripe_house.v1.invoices.retrieve(rest.stripe_id).total == 30_000
    pay(ada, stripe_house, rest.stripe_id)
    invoices_settle()
    assert account(ada, order).paid == 330_000 and account(ada, order).owed == 770_000


def test_a_deposit_that_is_asked_for_again_as_a_whole_begins_the_work_when_that_is_paid(
    ada: Person, staff: Person, stripe_house: Emulator
) -> None:
    order, row = sent(ada)
    for _twice in range(2):
        credit(ada, staff, row, "3300.00")
        assert settle(staff, row, "again").status_code == 302
        commands_send(ada.tenant.id)
        invoices_settle()
        assert row_of(ada, order).state == "accepted", "nothing was paid"
        row = invoices(ada, order)[-1]
        assert (row.kind, row.cents) == ("rest", 330_000)
    pay(ada, stripe_house, row.stripe_id)
    invoices_settle()
    assert row_of(ada, order).state == "working" and account(ada, order).paid == 330_000


def test_two_of_staff_settle_a_credit_once(ada: Person, staff: Person, boss: Person, stripe_house: Emulator) -> None:
    order, row = sent(ada)
    credit(ada, staff, row, "300.00")
    codes = []

    def one(person: Person) -> None:
        codes.append(settle(person, row, "again").status_code)
        connections.close_all()

    threads = [threading.Thread(target=one, args=(person,)) for person in (staff, boss)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == [302, 422]
    assert [one.kind for one in invoices(ada, order)] == ["deposit", "rest"]


def test_a_bank_transfer_pays_an_invoice_past_stripe(staff: Person, stripe_house: Emulator) -> None:
    bob = make_person("bob")
    granted(bob)
    order, row = sent(bob)
    for changes, word in (
        ({"amount": "3299.99"}, "$3,300.00 of the invoice are open"),
        ({"received_on": f"{now().date() + dt.timedelta(days=2)}"}, "to today"),
        ({"reference": "   "}, ""),
    ):
        refused = transfer(staff, row, **changes)
        assert refused.status_code == 422 and word in refused.content.decode()
    assert books(bob) == {"receivable": 330_000, "contract_revenue": -330_000}
    assert transfer(staff, row).status_code == 302
    assert transfer(staff, row).status_code == 422, "once"
    found = stripe_house.v1.invoices.retrieve(row.stripe_id)
    assert (found.status, found.amount_paid_off_stripe) == ("paid", 330_000)
    invoices_settle()
    assert row_of(bob, order).state == "working"
    page = bob.browser.get(f"{bob.workspace}/orders/{order.public_id}/").content.decode()
    assert "by bank transfer, SEPA 4711" in page and "A bank transfer came in" in page
    assert books(bob) == {"bank": 330_000, "contract_revenue": -330_000}
    with tenant_scope(bob.tenant.id):
        assert OrderTransfer.objects.get(invoice=row).cents == 330_000
        assert StripeCommand.objects.get(operation="order_paid_outside").state == "done"
    month = month_of(now())
    with ops_scope("test"):
        mine = revenue_by_tenant(month, month)[bob.tenant.id]
        assert revenue_by_month(month, month)[month].contracts >= 3_300 * NANO
    assert (mine.contracts, mine.plans, mine.usage, mine.total) == (3_300 * NANO, 0, 0, 3_300 * NANO)
    for path in ("/staff/economics/", "/staff/economics/margin/"):
        assert b"ontracts" in staff.browser.get(path).content


def test_a_transfer_that_stripe_does_not_hear_of_at_once_is_told_once(
    ada: Person, staff: Person, stripe_house: Emulator
) -> None:
    order, row = sent(ada)
    assert transfer(staff, row).status_code == 302
    with tenant_scope(ada.tenant.id):  # its answer was lost, and comes again two days later
        at = now() - dt.timedelta(days=2)
        mine = StripeCommand.objects.filter(operation="order_paid_outside", once=str(row.pk))
        mine.update(state="waiting", answer=None, first_sent_at=at)
    commands_send(ada.tenant.id)
    with tenant_scope(ada.tenant.id):
        assert mine.get().state == "done" and Invoice.objects.get(stripe_id=row.stripe_id).status == "paid"
    invoices_settle()
    assert row_of(ada, order).state == "working"


def test_a_transfer_for_what_a_card_has_paid_meanwhile_is_a_finding(
    ada: Person, staff: Person, stripe_house: Emulator
) -> None:
    order, row = sent(ada)
    stripe_house.v1.invoices.pay(row.stripe_id, {"payment_method": "pm_card_visa"})  # its news is on the way
    refused = transfer(staff, row)
    assert refused.status_code == 422 and "already paid" in refused.content.decode()
    with tenant_scope(ada.tenant.id):
        customer = customer_current()
        assert customer is not None
        invoice_mirror(customer, row.stripe_id)
    invoices_settle()
    assert row_of(ada, order).state == "working"
    assert "by bank transfer" not in ada.browser.get(f"{ada.workspace}/orders/{order.public_id}/").content.decode()
    commands_look()
    with ops_scope("test"):
        assert BillingFinding.objects.filter(organisation=ada.tenant.id, found__contains="order_paid_outside").exists()


def test_invoices_that_were_booked_as_plans_move_to_contracts(stripe_house: Emulator) -> None:
    bob = make_person("bob")
    granted(bob)
    _order, row = sent(bob)
    with tenant_scope(bob.tenant.id):  # as it was before there was an account of their own
        ledger_post(
            kind="invoice",
            key=row.stripe_id,
            entries={"receivable": 330_000 * CENT, "subscription_revenue": -330_000 * CENT},
        )
        Invoice.objects.filter(stripe_id=row.stripe_id).update(booked_at=None)
    assert books(bob) == {"receivable": 330_000, "contract_revenue": -330_000}


def test_only_an_open_invoice_takes_a_transfer(ada: Person, staff: Person, stripe_house: Emulator) -> None:
    order = accepted(ada)
    (row,) = invoices(ada, order)
    early = transfer(staff, row)
    assert early.status_code == 422 and "not open" in early.content.decode()
    invoices_make(tenant_id=ada.tenant.id)
    row = only(ada, order)
    pay(ada, stripe_house, row.stripe_id)
    assert transfer(staff, row).status_code == 422


def test_contracts_stand_apart_from_plans_and_in_what_a_customer_is_worth() -> None:
    found = {"currency": "usd", "status": "open", "total": 1_190, "amount_due": 1_190, "subtotal": 1_000,
             "total_taxes": [{"amount": 190, "tax_behavior": "exclusive"}]}  # fmt: skip
    sums = invoice_sums(found, "usd")
    assert invoice_issued(sums, UsageOn(), contract=True) == {
        "receivable": 1_190 * CENT,
        "contract_revenue": -1_000 * CENT,
        "tax": -190 * CENT,
    }
    assert "contract_revenue" not in invoice_issued(sums, UsageOn())
    told = lifetime([], booked=5, cost=None, spend=0, contracts=7)
    assert (told.revenue, told.contracts) == (12, 7)
