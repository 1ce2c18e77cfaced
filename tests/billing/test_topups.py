"""Credit is bought when the balance falls: once a fall, never above the month's total, and off after a refusal."""

from __future__ import annotations

import datetime as dt
import threading
import uuid
from collections.abc import Iterator

import pytest
from django.core import mail
from django.db import connections
from django.test import override_settings

from billing.models import AutoTopUp, Invoice, StripeCommand, TopUp, TopUpConsent
from billing.selectors.dunning import owed
from billing.selectors.topups import topup_failed
from billing.services import topups
from billing.services.credit_notes import credit_note_write
from billing.services.sync import customer_sync
from billing.services.topups import CONSENT, topup_look, topup_set, topup_stop, topups_look_all, topups_tidy
from billing.services.webhooks import stripe_sweep
from hooks.models import Event
from hooks.services import endpoint_create
from kit.clock import now
from kit.errors import BadRequest, Conflict
from kit.money import CENT, NANO
from tenants.models import AuditEvent
from tenants.scope import tenant_scope
from tests.billing import topped
from tests.billing.emulated import GOOD, Emulator
from tests.billing.test_credits import books
from tests.billing.topped import agreed, balance, booked, charges, fall, healed, is_on, sent, states, told, with_card
from tests.conftest import Cast, Person

ASKS = "pm_card_authenticationRequired"


@pytest.fixture(autouse=True)
def outbox() -> Iterator[None]:
    with override_settings(EMAIL_BACKEND="django.core.mail.backends.locmem.EmailBackend"):
        mail.outbox = []
        yield


def listen(person: Person) -> None:
    kinds = ["tunesmith.wallet.topped_up", "tunesmith.wallet.topup_failed"]
    with tenant_scope(person.tenant.id):
        endpoint_create(project=person.project, name="m", url="https://hooks.example.com/x", event_types=kinds)


def heard(person: Person) -> list[tuple[str, str]]:
    with tenant_scope(person.tenant.id):
        events = Event.objects.filter(type__startswith="tunesmith.wallet").order_by("pk")
        return [(event.type.rpartition(".")[2], event.data.get("reason", "")) for event in events]


def test_a_balance_that_falls_is_topped_up_once_and_booked(cast: Cast, stripe_house: Emulator) -> None:
    ada, tenant_id = cast.owner, cast.owner.tenant.id
    customer = with_card(ada, stripe_house)
    listen(ada)
    agreed(ada)
    assert fall(ada, 1, 4) == 0, "6 dollars are not below 5"
    assert fall(ada, 2, 2) == 1 and topup_look(tenant_id=tenant_id) == 0, "one is on its way"
    sent(ada)
    assert charges(stripe_house, customer) == [2000] and states(tenant_id) == ["paid"]
    assert balance(tenant_id) == 24 * NANO and topup_look(tenant_id=tenant_id) == 0
    told(stripe_house, customer, times=2)
    told(stripe_house, customer, reverse=True)
    stripe_sweep()
    assert balance(tenant_id) == 24 * NANO and heard(ada) == [("topped_up", "")] and not mail.outbox
    booked(tenant_id)
    found = books(tenant_id)
    assert "credit_sold" not in found and found["subscription_revenue"] == -29 * NANO
    assert (found["cash"], found["prepaid"], found["promo"]) == (49 * NANO, -20 * NANO, -4 * NANO)
    with tenant_scope(tenant_id):
        invoice = Invoice.objects.get(stripe_id=TopUp.objects.get().invoice_id)
        assert invoice.pdf_url and invoice.lines[0]["description"] == "Tunesmith credit, topped up"
        with pytest.raises(Conflict, match="for credit"):
            credit_note_write(invoice_id=invoice.stripe_id, cents=100, to="card", memo="x")


def test_the_tick_finds_only_those_below(cast: Cast, stripe_house: Emulator) -> None:
    ada = cast.owner
    with_card(ada, stripe_house)
    agreed(ada)
    topups_look_all()
    assert states(ada.tenant.id) == []
    assert fall(ada, 1, 1) == 0
    topped.spend(ada, 2, 5 * NANO)
    topped.lines_post(tenant_id=ada.tenant.id)
    assert topups_look_all() >= 1 and states(ada.tenant.id) == ["waiting"]


def test_a_consent_is_kept_with_its_words_and_who_gave_it(cast: Cast, stripe_house: Emulator) -> None:
    ada = cast.owner
    with_card(ada, stripe_house)
    agreed(ada)
    agreed(ada, amount=30)
    with tenant_scope(ada.tenant.id):
        rows = list(TopUpConsent.objects.order_by("at"))
        assert [row.amount_nano // NANO for row in rows] == [20, 30]
        assert {(row.by_kind, row.by_label, row.text) for row in rows} == {("user", "ada@example.com", CONSENT)}
        assert AutoTopUp.objects.get().consent_id == rows[1].pk


def test_where_the_balance_is_below_already_it_is_bought_at_once(cast: Cast, stripe_house: Emulator) -> None:
    ada = cast.owner
    customer = with_card(ada, stripe_house, credit=1)
    agreed(ada)
    sent(ada)
    assert charges(stripe_house, customer) == [2000]


def test_a_month_never_comes_to_more_than_was_agreed(cast: Cast, stripe_house: Emulator) -> None:
    ada, tenant_id = cast.owner, cast.owner.tenant.id
    customer = with_card(ada, stripe_house, credit=1)
    agreed(ada, below=100, amount=20, most=50)
    for _ in range(4):
        sent(ada)
        topup_look(tenant_id=tenant_id)
    assert charges(stripe_house, customer) == [2000, 2000]


def test_ticks_at_once_buy_once_and_keep_to_the_total(cast: Cast, stripe_house: Emulator) -> None:
    ada, tenant_id, failed = cast.owner, cast.owner.tenant.id, []
    customer = with_card(ada, stripe_house, credit=1)
    agreed(ada, below=1000, amount=20, most=70)

    def tick() -> None:
        try:
            for _ in range(3):
                topup_look(tenant_id=tenant_id)
                sent(ada)
        except BaseException as error:
            failed.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=tick) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    for _ in range(3):
        healed(ada)
        topup_look(tenant_id=tenant_id)
    assert failed == [] and charges(stripe_house, customer) == [2000, 2000, 2000]
    assert balance(tenant_id) == 61 * NANO
    booked(tenant_id)


def test_a_declined_card_turns_it_off_and_paying_by_hand_on_again(cast: Cast, stripe_house: Emulator) -> None:
    ada, tenant_id = cast.owner, cast.owner.tenant.id
    customer = with_card(ada, stripe_house, card="pm_card_chargeCustomerFail")
    listen(ada)
    agreed(ada)
    assert fall(ada, 1, 6) == 1
    sent(ada)
    assert (states(tenant_id), is_on(tenant_id), heard(ada)) == (["failed"], False, [("topup_failed", "declined")])
    told(stripe_house, customer, times=2)
    assert fall(ada, 2, 1) == 0 and charges(stripe_house, customer) == []
    message = mail.outbox[-1]
    assert message.to == [ada.user.email] and "Automatic top-up is off" in message.subject
    assert "declined" in message.body and "/i/in_" in message.body and len(mail.outbox) == 1
    with tenant_scope(tenant_id):
        failure = topup_failed()
        assert failure is not None and failure.url.startswith(stripe_house.url)
        assert owed() == [], "nothing was used that it asks for, so nobody is suspended over it"
    booked(tenant_id)
    status, _, _ = stripe_house.page(failure.url, {"number": GOOD, "expiry": "12/40", "cvc": "123"})
    assert status == 303
    told(stripe_house, customer)
    assert (states(tenant_id), is_on(tenant_id), balance(tenant_id)) == (["paid"], True, 23 * NANO)
    assert heard(ada)[-1] == ("topped_up", "")
    booked(tenant_id)


def test_a_card_that_asks_its_owner_leads_to_the_page_to_confirm_on(cast: Cast, stripe_house: Emulator) -> None:
    ada, tenant_id = cast.owner, cast.owner.tenant.id
    with_card(ada, stripe_house, card=ASKS)
    listen(ada)
    agreed(ada)
    fall(ada, 1, 6)
    sent(ada)
    assert (states(tenant_id), is_on(tenant_id), heard(ada)) == (["failed"], False, [("topup_failed", "confirm")])
    assert "Confirm and pay here" in mail.outbox[-1].body


def test_turned_off_it_leaves_nothing_that_could_be_paid_later(cast: Cast, stripe_house: Emulator) -> None:
    ada, tenant_id = cast.owner, cast.owner.tenant.id
    customer = with_card(ada, stripe_house)
    agreed(ada)
    stripe_house.control("/payments/fail", {"count": 1})
    fall(ada, 1, 6)
    sent(ada)
    with tenant_scope(tenant_id):
        topup_stop()
    sent(ada)
    assert states(tenant_id) == ["void"] and charges(stripe_house, customer) == []
    with tenant_scope(tenant_id):
        row = TopUp.objects.get()
        assert Invoice.objects.get(stripe_id=row.invoice_id).status == "void" and topup_failed() is None
    assert stripe_house.page(row.url, {"number": GOOD, "expiry": "12/40", "cvc": "123"})[0] != 303
    booked(tenant_id)


def test_turned_off_before_it_is_sent_nothing_is_charged(cast: Cast, stripe_house: Emulator) -> None:
    ada, tenant_id = cast.owner, cast.owner.tenant.id
    customer = with_card(ada, stripe_house)
    agreed(ada)
    assert fall(ada, 1, 6) == 1
    with tenant_scope(tenant_id):
        topup_stop()
    sent(ada)
    assert (charges(stripe_house, customer), states(tenant_id)) == ([], ["void"])
    with tenant_scope(tenant_id):
        assert not StripeCommand.objects.filter(operation="topup_void").exists()


def test_turned_on_again_by_hand_it_buys_once(cast: Cast, stripe_house: Emulator) -> None:
    ada, tenant_id = cast.owner, cast.owner.tenant.id
    customer = with_card(ada, stripe_house)
    agreed(ada, most=20)
    stripe_house.control("/payments/fail", {"count": 1})
    fall(ada, 1, 6)
    sent(ada)
    agreed(ada, most=20)
    assert states(tenant_id) == ["failed"], "until its invoice is void it counts towards the month"
    sent(ada)
    assert topup_look(tenant_id=tenant_id) == 1
    sent(ada)
    assert (states(tenant_id), charges(stripe_house, customer)) == (["void", "paid"], [2000])
    booked(tenant_id)


def test_what_was_paid_before_the_answer_came_is_not_void(cast: Cast, stripe_house: Emulator) -> None:
    ada, tenant_id = cast.owner, cast.owner.tenant.id
    customer = with_card(ada, stripe_house)
    agreed(ada)
    stripe_house.control("/payments/fail", {"count": 1})
    fall(ada, 1, 6)
    sent(ada)
    with tenant_scope(tenant_id):
        url = TopUp.objects.get().url
        topup_stop()
    assert stripe_house.page(url, {"number": GOOD, "expiry": "12/40", "cvc": "123"})[0] == 303
    sent(ada)
    assert (states(tenant_id), is_on(tenant_id)) == (["paid"], False)
    assert (charges(stripe_house, customer), balance(tenant_id)) == ([2000], 24 * NANO)


def test_a_paid_invoice_nobody_told_of_is_credited_by_the_sweep_once(
    cast: Cast, stripe_house: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, tenant_id = cast.owner, cast.owner.tenant.id
    with_card(ada, stripe_house)
    agreed(ada)
    fall(ada, 1, 6)
    with monkeypatch.context() as patch:
        patch.setattr("billing.services.commands._follow", lambda command: None)
        sent(ada)
    assert (states(tenant_id), balance(tenant_id)) == (["waiting"], 4 * NANO)
    stripe_sweep(back=dt.timedelta(0))
    with tenant_scope(tenant_id):
        customer_sync(customer=topped.BillingCustomer.objects.get())
    assert (states(tenant_id), balance(tenant_id)) == (["paid"], 24 * NANO)


def test_a_day_later_nobody_is_charged_any_more_and_the_next_look_buys(
    cast: Cast, stripe_house: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, tenant_id = cast.owner, cast.owner.tenant.id
    customer = with_card(ada, stripe_house)
    agreed(ada)
    fall(ada, 1, 6)
    with tenant_scope(tenant_id):
        long_ago = now() - dt.timedelta(days=1)
        StripeCommand.objects.filter(operation="topup_charge").update(created_at=long_ago, first_sent_at=long_ago)
    sent(ada)
    assert (states(tenant_id), charges(stripe_house, customer)) == (["void"], [])
    assert topup_look(tenant_id=tenant_id) == 1
    sent(ada)
    assert charges(stripe_house, customer) == [2000]


def test_what_nobody_pays_in_a_week_is_void(
    cast: Cast, stripe_house: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, tenant_id = cast.owner, cast.owner.tenant.id
    with_card(ada, stripe_house)
    agreed(ada)
    stripe_house.control("/payments/fail", {"count": 1})
    fall(ada, 1, 6)
    sent(ada)
    with tenant_scope(tenant_id):
        TopUp.objects.update(changed_at=now() - topups.PAYABLE - dt.timedelta(minutes=1))
    assert topups_tidy() >= 1
    sent(ada)
    assert states(tenant_id) == ["void"] and not is_on(tenant_id)
    with tenant_scope(tenant_id):
        customer_sync(customer=topped.BillingCustomer.objects.get())


@pytest.mark.parametrize(
    ("field", "nano"),
    [
        (field, nano)
        for field in ("below_nano", "amount_nano", "month_most_nano")
        for nano in (None, 0, -5 * NANO, 10**18, 10**30, 5 * NANO + 1, True)
    ]
    + [("month_most_nano", 19 * NANO), ("agreed", False), ("amount_nano", 5 * NANO - CENT)],
)
def test_what_nobody_can_agree_to_is_refused(cast: Cast, stripe_house: Emulator, field: str, nano: int | None) -> None:
    wanted = {"below_nano": 5 * NANO, "amount_nano": 20 * NANO, "month_most_nano": 60 * NANO, "agreed": True}
    with tenant_scope(cast.owner.tenant.id), pytest.raises(BadRequest):
        topup_set(**{**wanted, field: nano}, by=topped.BY)  # type: ignore[arg-type]


def test_without_a_saved_card_it_cannot_be_turned_on(cast: Cast, stripe_house: Emulator) -> None:
    with pytest.raises(Conflict, match="no saved card"):
        agreed(cast.owner)
    with tenant_scope(cast.owner.tenant.id):
        assert topup_stop() is None


def test_a_forged_mark_of_nobody_gives_no_more_than_was_paid(cast: Cast, stripe_house: Emulator) -> None:
    """An invoice of the tenant's customer that says it is for credit, of a purchase that we do not know."""
    ada, tenant_id = cast.owner, cast.owner.tenant.id
    customer = with_card(ada, stripe_house)
    metadata = {"purpose": "credit_topup", "topup": str(uuid.uuid4())}
    made = stripe_house.v1.invoices.create({"customer": customer, "metadata": metadata})
    item = {"customer": customer, "invoice": made.id, "amount": 700, "currency": "usd"}
    stripe_house.v1.invoice_items.create(item)  # type: ignore[arg-type]
    stripe_house.v1.invoices.pay(made.id, {"paid_out_of_band": True})
    told(stripe_house, customer)
    assert balance(tenant_id) == 17 * NANO
    booked(tenant_id)


def test_a_refund_of_a_top_up_takes_its_credit_along(cast: Cast, stripe_house: Emulator) -> None:
    ada, tenant_id = cast.owner, cast.owner.tenant.id
    customer = with_card(ada, stripe_house)
    agreed(ada)
    fall(ada, 1, 6)
    sent(ada)
    charge = stripe_house.v1.charges.list({"customer": customer, "limit": 1}).data[0]
    stripe_house.v1.refunds.create({"charge": charge.id, "amount": 2000})
    told(stripe_house, customer)
    with tenant_scope(tenant_id):
        customer_sync(customer=topped.BillingCustomer.objects.get())
    booked(tenant_id)
    assert balance(tenant_id) == 4 * NANO
    assert not is_on(tenant_id), "the card that the money went back to is not charged for it again"
    assert topup_look(tenant_id=tenant_id) == 0 and charges(stripe_house, customer) == [2000]
    assert "a payment went back" in mail.outbox[-1].subject and "/billing/wallet" in mail.outbox[-1].body
    with tenant_scope(tenant_id):
        assert AuditEvent.objects.get(action="topup.stopped").after == {"on": False, "reason": "paid_back"}
