"""What follows from invoices that are not paid, step by step, and how a payment takes it back at once."""

import datetime as dt
import threading

import pytest
import stripe
from django.core import mail
from django.db import connections
from hypothesis import given
from hypothesis import strategies as st

from billing.errors import PaymentOverdue
from billing.models import BillingCustomer, DunningNotice, Invoice, TenantEntitlement
from billing.plans import SubscriptionFacts, entitlement_derive, plan_book
from billing.plans.ladder import DAYS, STEPS, Hold, Owed, Rung, at_least, ladder
from billing.selectors.dunning import owed, step_now
from billing.selectors.subscriptions import entitlement_for
from billing.services.calls import call_metered
from billing.services.dunning import hold_revoke, hold_set
from billing.services.entitlements import entitlement_refresh, entitlements_due
from billing.services.locks import money_lock
from billing.services.sync import customer_sync
from kit.clock import now
from kit.errors import BadRequest
from tenants.models import AuditEvent, Tenant
from tenants.scope import tenant_scope
from tenants.services import erasing
from tenants.services.erasing import tenants_erase_closed
from tenants.services.organisations import tenant_turn
from tests.billing.emulated import Emulator
from tests.billing.test_subscriptions import buy
from tests.conftest import Cast, Person
from training.sweep_api import EXAMPLE

NOON = dt.datetime(2028, 2, 15, 12, tzinfo=dt.UTC)
"""Before a leap day; and of what Europe's clocks do in March, days of UTC know nothing."""
DAY = dt.timedelta(days=1)
MOMENTS = st.datetimes(dt.datetime(2028, 1, 1), dt.datetime(2028, 6, 1), timezones=st.just(dt.UTC))
OWED = st.lists(st.builds(Owed, st.text("abc", min_size=1, max_size=3), MOMENTS), max_size=4)
HOLDS = st.lists(st.builds(Hold, st.sampled_from(STEPS), st.none() | MOMENTS), max_size=2)


@pytest.mark.parametrize(
    ("days", "step"),
    [(-1, ""), (0, "warned"), (6, "warned"), (7, "no_jobs"), (13, "no_jobs"), (14, "read_only"), (29, "read_only"),
     (30, "suspended"), (59, "suspended"), (60, "closed"), (4000, "closed")],
)  # fmt: skip
def test_each_step_comes_on_its_day(days: int, step: str) -> None:
    found = ladder([Owed("in_1", NOON)], [], NOON + days * DAY)
    assert found.step == step
    edge = ladder([Owed("in_1", NOON)], [], NOON + days * DAY - dt.timedelta(microseconds=1))
    assert STEPS.index(edge.step) <= STEPS.index(step)
    assert set(DAYS) == set(STEPS[1:])


@given(OWED, HOLDS, MOMENTS)
def test_the_answer_holds_until_it_says_it_changes_and_no_hold_makes_it_worse(
    debts: list[Owed], holds: list[Hold], at: dt.datetime
) -> None:
    found = ladder(debts, holds, at)
    assert ladder(debts[::-1], holds[::-1], at) == found
    assert STEPS.index(found.step) <= STEPS.index(ladder(debts, [], at).step)
    if found.next_at is not None:
        assert found.next_at > at
        assert ladder(debts, holds, found.next_at - dt.timedelta(microseconds=1)).step == found.step
    else:
        assert ladder(debts, holds, at + 9999 * DAY).step == found.step
    assert ladder([], holds, at).step == "" and ladder([], [], at) == Rung()
    assert all(at_least(found.step, step) for step in STEPS[: STEPS.index(found.step) + 1])


def owe(person: Person, days: float, **more: object) -> Invoice:
    """An invoice whose card was refused so many days ago."""
    moment = now() - dt.timedelta(days=days)
    values = {"status": "open", "currency": "usd", "total": 2900, "amount_due": 2900, "amount_paid": 0}
    values |= {"attempt_count": 1, "issued_at": moment, "billing_reason": "subscription_cycle", **more}
    with tenant_scope(person.tenant.id):
        row: Invoice = Invoice.objects.create(stripe_id=f"in_{person.tenant.slug}_{days}", **values)
        entitlement_refresh()
    return row


def step_of(person: Person) -> str:
    with tenant_scope(person.tenant.id):
        return step_now()


def pay(person: Person) -> None:
    with tenant_scope(person.tenant.id):
        Invoice.objects.update(status="paid", amount_paid=2900)
        entitlement_refresh()


JOB = {"model": "minilm-l6", "training_file": "file-nobody"}


def test_after_a_week_nothing_new_is_started_and_a_payment_lifts_it(cast: Cast) -> None:
    ada = cast.owner
    before = {path: ada.api.post(path, body).status_code for path, body in started().items()}
    owe(ada, 6)
    assert {path: ada.api.post(path, body).status_code for path, body in started().items()} == before, "a warning"
    pay(ada)
    owe(ada, 8)
    for path, body in started().items():
        answer = ada.api.post(path, body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (402, "payment_overdue"), path
    assert ada.api.get("/v1/fine_tuning/jobs").status_code == 200
    assert ada.api.post("/v1/datasets", {"name": "still"}).status_code != 402, "the rest works"
    assert cast.stranger.api.post("/v1/fine_tuning/jobs", JOB).status_code != 402
    pay(ada)
    assert {path: ada.api.post(path, body).status_code for path, body in started().items()} == before


def started() -> dict[str, dict[str, object]]:
    """What begins new work."""
    return {
        "/v1/fine_tuning/sweeps": {**EXAMPLE, "training_file": "file-nobody"},
        "/v1/fine_tuning/jobs": JOB,
        "/v1/batches": {"input_file_id": "file-nobody", "endpoint": "/v1/classify", "completion_window": "24h"},
    }


def test_after_two_weeks_the_playground_is_silent_as_well(cast: Cast) -> None:
    ada = cast.owner
    owe(ada, 15)
    call = {"tenant_id": ada.tenant.id, "project_id": ada.project.id, "kind": "classify", "model": "m", "tokens": 10}
    with pytest.raises(PaymentOverdue, match="do not answer"), call_metered(**call):
        raise AssertionError("it must not run")


def test_after_two_weeks_the_api_reads_and_a_payment_lifts_it(cast: Cast) -> None:
    ada = cast.owner
    owe(ada, 15)
    refused = ada.api.post("/v1/datasets", {"name": "new"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (402, "payment_overdue")
    assert refused.headers["x-should-retry"] == "false" and "lifts this at once" in refused.json()["error"]["message"]
    assert ada.api.get("/v1/models").status_code == 200
    pay(ada)
    assert ada.api.post("/v1/datasets", {"name": "new"}).status_code != 402


@pytest.mark.parametrize(("days", "status"), [(31, "suspended"), (95, "closed")])
def test_the_last_steps_are_taken_back_by_a_payment(
    cast: Cast, days: int, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = cast.owner
    owe(ada, days)
    monkeypatch.setattr(erasing, "REOPENABLE", -DAY)  # as if a month had passed since
    tenants_erase_closed()
    with tenant_scope(ada.tenant.id):
        assert Tenant.objects.get().status == status, "and nothing is erased"
    assert ada.api.get("/v1/models").status_code in (401, 403)
    pay(ada)
    with tenant_scope(ada.tenant.id):
        assert Tenant.objects.get().status == "active"
        actions = list(AuditEvent.objects.filter(action__startswith="tenant.").values_list("action", flat=True))
    assert set(actions) >= {"tenant.closed_unpaid" if days > 60 else f"tenant.{status}", "tenant.reopened"}
    assert ada.api.get("/v1/models").status_code == 200


def test_what_staff_suspended_is_not_reopened_by_a_payment(cast: Cast) -> None:
    ada = cast.owner
    with tenant_scope(ada.tenant.id):
        Tenant.objects.update(status="suspended")
    owe(ada, 31)
    pay(ada)
    with tenant_scope(ada.tenant.id):
        assert Tenant.objects.get().status == "suspended"


def test_a_step_does_not_wait_for_whoever_has_the_organisation_and_wants_the_money(cast: Cast) -> None:
    """They hold the organisation's row and ask for the money's lock; the step holds that one, and needs the row."""
    ada, failed = cast.owner, list[BaseException]()
    owe(ada, 29)
    has_row, has_lock = threading.Event(), threading.Event()

    def turn() -> None:
        try:
            with tenant_scope(ada.tenant.id):
                tenant_turn()
                has_row.set()
                assert has_lock.wait(10)
                money_lock(ada.tenant.id)
        except BaseException as error:
            failed.append(error)
        finally:
            connections.close_all()

    other = threading.Thread(target=turn)
    other.start()
    assert has_row.wait(10)
    with tenant_scope(ada.tenant.id):
        money_lock(ada.tenant.id)
        has_lock.set()
        Invoice.objects.update(issued_at=now() - 31 * DAY)
        entitlement_refresh()
        assert step_now() == "suspended"
        assert Tenant.objects.get().status == "active"
    other.join(10)
    assert failed == [] and not other.is_alive()
    assert entitlements_due() >= 1
    with tenant_scope(ada.tenant.id):
        assert Tenant.objects.get().status == "suspended"
        assert TenantEntitlement.objects.get().until > now()


def test_a_suspended_organisation_can_still_pay(cast: Cast, stripe_house: Emulator) -> None:
    buy(cast.owner, stripe_house)
    owe(cast.owner, 31)
    home = f"{cast.owner.home}/billing"
    assert "is overdue since" in cast.owner.browser.get(f"{home}/").content.decode()
    answer = cast.owner.browser.post(f"{home}/portal")
    assert answer.status_code == 302 and answer["Location"].startswith(stripe_house.url)
    assert cast.owner.browser.post(f"{home}/plan", {"action": "cancel"}).status_code == 403


def test_every_page_says_it_and_one_mail_a_step_goes_to_whoever_can_pay(cast: Cast) -> None:
    ada = cast.owner
    mail.outbox.clear()
    owe(ada, 1, hosted_url="https://pay.example.com/in_1")
    for _ in range(3):
        with tenant_scope(ada.tenant.id):
            entitlement_refresh()
    assert [sent.to for sent in mail.outbox] == [[ada.user.email]]
    assert "https://pay.example.com/in_1" in mail.outbox[0].body and "Nothing new is started" in mail.outbox[0].body
    for page in (f"{ada.workspace}/", f"{ada.home}/usage/", f"{ada.home}/billing/"):
        assert "An invoice is overdue since" in ada.browser.get(page, follow=True).content.decode(), page
    with tenant_scope(ada.tenant.id):
        Invoice.objects.update(issued_at=now() - 8 * DAY)
        TenantEntitlement.objects.update(until=now())
    entitlements_due()
    assert step_of(ada) == "no_jobs" and len(mail.outbox) == 2
    with tenant_scope(ada.tenant.id):
        assert set(DunningNotice.objects.values_list("step", flat=True)) == {"warned", "no_jobs"}
    pay(ada)
    assert "An invoice is overdue" not in ada.browser.get(f"{ada.home}/billing/").content.decode()


def test_staff_hold_it_with_a_reason_and_take_that_back(cast: Cast) -> None:
    ada = cast.owner
    owe(ada, 40)
    assert step_of(ada) == "suspended"
    with tenant_scope(ada.tenant.id):
        for wrong in ({"most": "wings"}, {"reason": " "}, {"until": now() - DAY}):
            with pytest.raises(BadRequest):
                hold_set(**{"most": "warned", "reason": "they pay by bank", "created_by": "ops", **wrong})  # type: ignore[arg-type]
        hold = hold_set(most="warned", reason="they pay by bank", created_by="ops", until=now() + DAY)
        entitlement_refresh()
        assert Tenant.objects.get().status == "active"
        row = TenantEntitlement.objects.get()
        assert (row.step, row.until) == ("warned", hold.until)
        hold_revoke(hold_id=hold.pk, reason="they did not")
        entitlement_refresh()
    assert step_of(ada) == "suspended"


def test_only_what_is_due_is_owed(cast: Cast) -> None:
    ada = cast.owner
    mailed = {"raw": {"collection_method": "send_invoice", "amount_remaining": 2900}, "attempt_count": 0}
    owe(ada, 20, attempt_count=0)  # its card is not tried yet
    owe(ada, 21, due_at=now() + DAY, **mailed)
    owe(ada, 22, raw={"amount_remaining": 0})  # a credit note covers it
    owe(ada, 23, status="void")
    owe(ada, 0.5, billing_reason="subscription_update")  # a change that waits for its owner
    with tenant_scope(ada.tenant.id):
        assert step_now() == ""
        assert len(owed()) == 2, "one will be, one is undecided"
        assert TenantEntitlement.objects.get().until is not None
    owe(ada, 24, due_at=now() - 9 * DAY, **mailed)
    assert step_of(ada) == "no_jobs"


def test_a_subscription_that_stripe_gave_up_leaves_its_invoice_owed(cast: Cast, stripe_house: Emulator) -> None:
    ada = cast.owner
    buy(ada, stripe_house)
    with tenant_scope(ada.tenant.id):
        customer = BillingCustomer.objects.get()
        subscription = TenantEntitlement.objects.get().subscription
    method = stripe_house.v1.payment_methods.attach("pm_card_visa", {"customer": customer.stripe_id})
    settings = {"default_payment_method": method.id}
    stripe_house.v1.customers.update(customer.stripe_id, {"invoice_settings": settings})
    stripe_house.v1.invoice_items.create({"customer": customer.stripe_id, "amount": 900, "currency": "usd"})
    made = stripe_house.v1.invoices.create(
        {"customer": customer.stripe_id, "pending_invoice_items_behavior": "include", "auto_advance": True}
    )
    stripe_house.control("/payments/fail", {"decline_code": "insufficient_funds"})
    stripe_house.v1.invoices.finalize_invoice(made.id)
    with pytest.raises(stripe.CardError):
        stripe_house.v1.invoices.pay(made.id)
    stripe_house.v1.subscriptions.cancel(subscription)
    with tenant_scope(ada.tenant.id):
        customer_sync(customer=customer)
        row = Invoice.objects.get(stripe_id=made.id)
    found = entitlement_for(ada.tenant.id)
    assert (found.plan, found.standing, row.status) == ("free", "good", "open")
    assert step_of(ada) == "warned"
    stripe_house.v1.invoices.pay(made.id)
    with tenant_scope(ada.tenant.id):
        customer_sync(customer=customer)
    assert step_of(ada) == ""


def test_a_subscription_that_nobody_collects_gives_no_plan() -> None:
    facts = SubscriptionFacts("sub_1", "active", "developer", 1, collecting=False)
    assert entitlement_derive([facts], [], plan_book(), NOON).plan == "free"


def test_the_error_says_what_to_do() -> None:
    assert "Pay it under Billing" in PaymentOverdue("So.").message
