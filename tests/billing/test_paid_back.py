"""Money of bought credit that goes back at Stripe takes the credit along, once; money that comes again brings it."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.errors import BudgetExceeded, PaymentsAway
from billing.ledger.stripe_books import credit_back
from billing.models import AllowanceChange, BillingFinding, CreditDraw, CreditGrant, PaymentDispute, Refund
from billing.quotas import QuotaStore
from billing.selectors.bills import allowance_nano
from billing.selectors.budgets import WALLET, cap_nano
from billing.selectors.limits import tenant_limit_set
from billing.selectors.wallet import balance_nano, postpaid_nano
from billing.services import reconcile
from billing.services.credits import credit_grant, credit_refund, credits_expire
from billing.services.jobs import job_reserve
from billing.services.ledger import lines_post, period_close
from billing.services.receivables import mirrors_book_all
from billing.services.reconcile import stripe_compare
from billing.services.wallet import postpaid_set
from billing.services.webhooks import event_handle, event_receive, stripe_sweep
from billing.stripe_port import StripePort
from kit.clock import now
from kit.money import CENT, NANO
from tenants.scope import tenant_scope
from tests.billing.emulated import Emulator
from tests.billing.money import entitle
from tests.billing.test_credits import books, give, go_on, left, right
from tests.billing.test_funds import ask
from tests.billing.test_ledger import OCTOBER, use
from tests.billing.test_purchases import balance, paid, told
from tests.conftest import Cast


@pytest.fixture
def bought(cast: Cast, stripe_house: Emulator) -> Iterator[tuple[uuid.UUID, str]]:
    """The tenant that bought credit for $20, and its payment."""
    tenant_id = cast.owner.tenant.id
    entitle(tenant_id, spend_nano=10**12, allowance_nano=0)
    session = paid(cast.owner, stripe_house, 20 * NANO)
    assert told(stripe_house, session) == ["done"]
    yield tenant_id, str(stripe_house.v1.checkout.sessions.retrieve(session).payment_intent)


def heard(emulator: Emulator, *kinds: str, times: int = 1) -> None:
    """Deliver all that Stripe says of some kinds, so many times, newest first, and let the tick book it."""
    events = [event for kind in kinds for event in emulator.events(type=kind)]
    for event in reversed(events * times):
        event_handle(event_receive(json.loads(str(event))).pk)
    mirrors_book_all()


def refunded(emulator: Emulator, payment: str, cents: int) -> None:
    emulator.v1.refunds.create({"payment_intent": payment, "amount": cents})
    heard(emulator, "refund.created", times=2)


def test_refunds_take_the_credit_that_they_pay_back(bought: tuple[uuid.UUID, str], stripe_house: Emulator) -> None:
    tenant_id, payment = bought
    refunded(stripe_house, payment, 500)
    assert balance(tenant_id) == 15 * NANO
    refunded(stripe_house, payment, 1_500)
    assert balance(tenant_id) == 0 and books(tenant_id) == {}
    with tenant_scope(tenant_id):
        taken = list(CreditDraw.objects.filter(kind="returned").values_list("amount_nano", flat=True))
        assert sorted(taken) == [5 * NANO, 15 * NANO]
    right(tenant_id)


def test_a_refund_that_only_the_sweep_sees_counts_also_where_nobody_had_heard_of_the_purchase(
    cast: Cast, stripe_house: Emulator
) -> None:
    tenant_id = cast.owner.tenant.id
    session = paid(cast.owner, stripe_house, 20 * NANO)
    payment = str(stripe_house.v1.checkout.sessions.retrieve(session).payment_intent)
    stripe_house.v1.refunds.create({"payment_intent": payment, "amount": 700})
    heard(stripe_house, "refund.created")
    assert balance(tenant_id) == 13 * NANO, "the refund tells of the purchase"
    for _ in range(2):
        stripe_sweep()
        mirrors_book_all()
    assert balance(tenant_id) == 13 * NANO
    right(tenant_id)


def test_what_staff_took_out_before_they_refund_is_not_taken_twice(
    bought: tuple[uuid.UUID, str], stripe_house: Emulator
) -> None:
    tenant_id, payment = bought
    with tenant_scope(tenant_id):
        credit_refund(grant_id=CreditGrant.objects.get().pk, amount_nano=8 * NANO, reason="asked for")
    refunded(stripe_house, payment, 800)
    assert balance(tenant_id) == 12 * NANO
    refunded(stripe_house, payment, 200)
    assert balance(tenant_id) == 10 * NANO
    assert books(tenant_id) == {"cash": 10 * NANO, "prepaid": -10 * NANO}
    right(tenant_id)


def test_while_stripe_is_away_the_refund_is_booked_and_the_credit_goes_later(
    bought: tuple[uuid.UUID, str], stripe_house: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise PaymentsAway

    tenant_id, payment = bought
    with monkeypatch.context() as patch:
        patch.setattr(StripePort, "checkout_of_payment", away)
        refunded(stripe_house, payment, 500)
    assert (balance(tenant_id), books(tenant_id)["cash"]) == (20 * NANO, 15 * NANO)
    right(tenant_id)
    mirrors_book_all()
    assert (balance(tenant_id), books(tenant_id)) == (15 * NANO, {"cash": 15 * NANO, "prepaid": -15 * NANO})
    right(tenant_id)


SUMS = st.integers(min_value=0, max_value=30)


@given(st.integers(min_value=1, max_value=20), SUMS, SUMS, SUMS, SUMS)
def test_never_more_goes_back_than_was_bought_and_never_less_than_went(
    amount: int, by_staff: int, refunded: int, lost: int, held: int
) -> None:
    by_staff = min(by_staff, amount)
    found = credit_back(amount, by_staff=by_staff, refunded=refunded, lost=lost, held=held)
    taken = found.get("prepaid", 0)
    assert sum(found.values()) == 0 and all(nano < 0 for account, nano in found.items() if account != "prepaid")
    assert taken + by_staff == min(amount, max(by_staff, min(amount, refunded)) + lost + held)
    assert -found.get("bad_debt", 0) <= lost and -found.get("dispute", 0) <= held


def test_a_refund_that_fails_brings_the_credit_again(bought: tuple[uuid.UUID, str], stripe_house: Emulator) -> None:
    tenant_id, payment = bought
    refunded(stripe_house, payment, 2_000)
    assert balance(tenant_id) == 0
    with tenant_scope(tenant_id):
        row = Refund.objects.get()
        row.raw, row.status, row.booked_at = {**row.raw, "status": "failed"}, "failed", None
        row.save()
    mirrors_book_all()
    assert balance(tenant_id) == 20 * NANO
    right(tenant_id)


@pytest.mark.parametrize("won", [True, False])
def test_a_dispute_holds_the_credit_until_it_is_decided(
    bought: tuple[uuid.UUID, str], stripe_house: Emulator, won: bool
) -> None:
    tenant_id, payment = bought
    charge = stripe_house.v1.payment_intents.retrieve(payment).latest_charge
    dispute = stripe_house.control("/disputes", {"charge": charge})
    heard(stripe_house, "charge.dispute.created", times=2)
    assert balance(tenant_id) == 0
    assert books(tenant_id) == {}, "held by the bank, and not owed to the tenant meanwhile"
    stripe_house.control(f"/disputes/{dispute['id']}/close", {"status": "won" if won else "lost"})
    heard(stripe_house, "charge.dispute.closed", "charge.dispute.created", times=2)
    assert balance(tenant_id) == (20 * NANO if won else 0)
    assert books(tenant_id) == ({"cash": 20 * NANO, "prepaid": -20 * NANO} if won else {})
    with tenant_scope(tenant_id):
        assert PaymentDispute.objects.get().grant is not None
    right(tenant_id)


def test_what_was_spent_already_is_owed_and_stops_calls_until_credit_comes(
    bought: tuple[uuid.UUID, str], stripe_house: Emulator
) -> None:
    tenant_id, payment = bought
    use(tenant_id, 1, 17 * NANO)  # of which the plan includes $2
    lines_post(tenant_id=tenant_id)
    period_close(tenant_id=tenant_id, period=OCTOBER)
    with tenant_scope(tenant_id):
        assert (balance_nano(), cap_nano(WALLET, tenant_id.hex), postpaid_nano()) == (5 * NANO, None, None)
    refunded(stripe_house, payment, 2_000)
    with tenant_scope(tenant_id):
        assert (balance_nano(), postpaid_nano()) == (-15 * NANO, 0)
        included = cap_nano(WALLET, tenant_id.hex)
        assert included == allowance_nano(), "no more than the plan includes goes on, though it was on account before"
        assert tenant_limit_set().funds_nano == 0
        postpaid_set(nano=40 * NANO)
        assert cap_nano(WALLET, tenant_id.hex) == included, "nor on the limit it sets itself"
    right(tenant_id)
    give(tenant_id, "promo", 10 * NANO)
    give(tenant_id, "prepaid", 12 * NANO)
    with tenant_scope(tenant_id):
        assert balance_nano() == 7 * NANO, "what comes settles what is owed first"
    assert left(tenant_id) == [-15 * NANO, 10 * NANO, 12 * NANO]
    use(tenant_id, 2, 9 * NANO)
    lines_post(tenant_id=tenant_id)
    with tenant_scope(tenant_id):
        assert balance_nano() == 0, "and only what is beyond it pays for usage"
    assert left(tenant_id) == [-15 * NANO, 3 * NANO, 12 * NANO]
    right(tenant_id)


def test_credit_that_ends_settles_what_it_stood_against(
    bought: tuple[uuid.UUID, str], stripe_house: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant_id, payment = bought
    use(tenant_id, 1, 17 * NANO)
    lines_post(tenant_id=tenant_id)
    period_close(tenant_id=tenant_id, period=OCTOBER)
    refunded(stripe_house, payment, 2_000)
    hour = dt.timedelta(hours=1)
    give(tenant_id, "promo", 10 * NANO, expires_at=now() + hour)
    give(tenant_id, "prepaid", 4 * NANO, expires_at=now() + hour)
    give(tenant_id, "promo", 2 * NANO, expires_at=now() + 5 * hour)
    assert (balance(tenant_id), left(tenant_id)) == (NANO, [-15 * NANO, 10 * NANO, 4 * NANO, 2 * NANO])
    for pause in (hour + dt.timedelta(minutes=1), 2 * hour):
        go_on(monkeypatch, pause)
        credits_expire(tenant_id=tenant_id)
        assert balance(tenant_id) == 0, "the dollar that could be used has ended; nothing is owed again"
    assert left(tenant_id) == [-2 * NANO, 0, 0, 2 * NANO]
    go_on(monkeypatch, 6 * hour)
    assert credits_expire(tenant_id=tenant_id) == 2 * NANO
    assert (balance(tenant_id), left(tenant_id)) == (0, [0, 0, 0, 0])
    right(tenant_id)
    with tenant_scope(tenant_id):
        row = Refund.objects.get()
        row.raw, row.status, row.booked_at = {**row.raw, "status": "failed"}, "failed", None
        row.save()
    mirrors_book_all()
    assert balance(tenant_id) == 5 * NANO, "its money came again after all; what had ended does not"
    right(tenant_id)


def test_what_ended_does_not_come_back_as_bought_credit_when_its_usage_is_included_after_all(
    bought: tuple[uuid.UUID, str], stripe_house: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant_id, payment = bought
    use(tenant_id, 1, 15 * NANO)
    lines_post(tenant_id=tenant_id)
    refunded(stripe_house, payment, 2_000)
    give(tenant_id, "promo", 10 * NANO, expires_at=now() + dt.timedelta(hours=1))
    assert left(tenant_id) == [-13 * NANO, 10 * NANO], "of what was used the plan includes two"
    go_on(monkeypatch, dt.timedelta(hours=2))
    credits_expire(tenant_id=tenant_id)
    assert left(tenant_id) == [-3 * NANO, 0]
    with tenant_scope(tenant_id):
        larger = {"plan": "developer", "plan_version": 1, "allowance_nano": 1_000 * NANO}
        AllowanceChange.objects.create(since=dt.datetime(2026, 9, 1, tzinfo=dt.UTC), **larger)
    period_close(tenant_id=tenant_id, period=OCTOBER)
    assert (balance(tenant_id), left(tenant_id)) == (0, [0, 0])
    right(tenant_id)


def test_calls_of_before_count_when_money_that_paid_for_them_goes_back(
    cast: Cast, bought: tuple[uuid.UUID, str], stripe_house: Emulator, store: QuotaStore
) -> None:
    """Nothing was limited while they ran, so nothing was promised for them."""
    tenant_id, payment = bought
    entitle(tenant_id, spend_nano=10**12, allowance_nano=2 * NANO)
    use(tenant_id, 1, 22 * NANO, now())
    lines_post(tenant_id=tenant_id)
    refunded(stripe_house, payment, 2_000)
    job = {"job_id": uuid.uuid4(), "project_id": cast.owner.project.id, "key_id": None, "store": store}
    with tenant_scope(tenant_id):
        paid_and_included = 20 * NANO + allowance_nano()
        assert (balance_nano(), postpaid_nano(), cap_nano(WALLET, tenant_id.hex)) == (-20 * NANO, 0, paid_and_included)
        with pytest.raises(BudgetExceeded, match="buy credit"):
            job_reserve(**job, ceiling_nano=20)
    assert not ask(store, tenant_id, 20), "what the plan includes was used before"
    give(tenant_id, "promo", 21 * NANO)
    with tenant_scope(tenant_id):
        assert balance_nano() > 0 and postpaid_nano() is None
    right(tenant_id)


def test_a_purchase_nobody_heard_of_is_a_finding_and_the_sweep_credits_it(
    cast: Cast, stripe_house: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile, "_young", lambda found: False)
    tenant_id = cast.owner.tenant.id
    session = paid(cast.owner, stripe_house, 25 * NANO)

    def found() -> list[tuple[str, str, str]]:
        stripe_compare()
        rows = BillingFinding.objects.filter(object=session, resolved_at=None)
        return list(rows.values_list("kind", "expected", "found"))

    assert found() == [("stripe.purchase_not_credited", "$25.00 of credit", "none")]
    monkeypatch.setattr("billing.stripe_port.StripePort.events_since", lambda *_: [])  # the webhook's log lost it, too
    for _ in range(2):
        stripe_sweep()
    assert balance(tenant_id) == 25 * NANO and found() == []


def test_credit_without_its_payment_is_a_finding(cast: Cast, stripe_house: Emulator) -> None:
    tenant_id = cast.owner.tenant.id
    session = paid(cast.owner, stripe_house, 25 * NANO)
    unpaid = f"cs_test_{uuid.uuid4().hex}"
    with tenant_scope(tenant_id):
        credit_grant(kind="prepaid", amount_nano=30 * NANO, source=session)
        credit_grant(kind="prepaid", amount_nano=CENT, source=unpaid)
    stripe_compare()
    rows = BillingFinding.objects.filter(object__in=(session, unpaid), resolved_at=None).order_by("found")
    assert [(row.kind, row.expected, row.found) for row in rows] == [
        ("stripe.purchase_not_paid", "$0.00 paid", "$0.01 of credit"),
        ("stripe.purchase_not_paid", "$25.00 paid", "$30.00 of credit"),
    ]
