"""Usage told to a meter at Stripe: whatever happens, what is asked for is the bill, to the cent, once."""

from __future__ import annotations

import csv
import datetime as dt
import io
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from django.test import override_settings
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from billing.ledger.hours import MeterAccount
from billing.models import (
    BillingCustomer,
    BillSink,
    MeterReading,
    StripeCommand,
    Subscription,
)
from billing.periods import bounds
from billing.selectors import invariants
from billing.selectors.meters import METER, hour_closed, meter_account
from billing.services import commands
from billing.services.credits import credit_grant
from billing.services.ledger import lines_post
from billing.services.meters import readings_settle
from billing.services.subscriptions import plan_change
from billing.stripe_port import StripePort, stripe_port
from kit.clock import now
from kit.money import CENT, NANO
from tenants.scope import tenant_scope
from tests.billing.commanded import asked as ordered
from tests.billing.emulated import Emulator
from tests.billing.metered import HOUR, close, counted, lines_cents, push, renewed, states, subscribed, take
from tests.billing.test_bill_pages import words
from tests.billing.test_commands import Killed
from tests.billing.test_invoicing import taken_for_dead
from tests.billing.test_ledger import MID_OCTOBER, OCTOBER, use
from tests.billing.test_subscriptions import buy
from tests.conftest import Cast, make_person


def books_are_right(tenant_id: UUID) -> None:
    assert [str(one) for one in invariants.findings([tenant_id])] == []


def test_the_renewal_asks_for_the_bill_of_closed_hours_to_the_cent(cast: Cast, timed: Emulator) -> None:
    tenant_id = cast.owner.tenant.id
    buy(cast.owner, timed)
    subscribed(tenant_id)
    use(tenant_id, 1, 13 * NANO + 3_456_780)
    lines_post(tenant_id=tenant_id)
    assert take(tenant_id, 0.5) == 0  # its hour has not ended
    first = take(tenant_id, 1.5)
    use(tenant_id, 2, 2 * NANO + 9_999_980, at=MID_OCTOBER + 3 * HOUR)
    lines_post(tenant_id=tenant_id)
    assert take(tenant_id, 1.5) == 0 and take(tenant_id, 4.5) > 0 and take(tenant_id, 4.5) == 0
    closed = close(tenant_id)
    assert first > 0 and counted(timed, tenant_id) == closed.net_nano // CENT and lines_cents(tenant_id) == 0
    invoice = renewed(timed, tenant_id)
    assert invoice.total == 2900 + closed.net_nano // CENT
    assert states(tenant_id) == ["billed", "billed"]
    books_are_right(tenant_id)
    month = words(cast.owner, "/billing/months/2026-10/")
    assert f"metered by the hour: ${closed.net_nano // CENT / 100:.2f}" in month and invoice.number in month
    assert "Tunesmith usage" in words(cast.owner, f"/billing/invoices/{invoice.public_id}/")


def test_late_usage_and_credit_go_with_a_later_hour_or_a_line(cast: Cast, timed: Emulator) -> None:
    tenant_id = cast.owner.tenant.id
    buy(cast.owner, timed)
    subscribed(tenant_id)
    use(tenant_id, 1, 20 * NANO)
    take(tenant_id)
    use(tenant_id, 2, NANO, at=MID_OCTOBER - 5 * HOUR)  # late
    assert take(tenant_id) == 100
    with tenant_scope(tenant_id):
        assert list(MeterReading.objects.order_by("created_at").values_list("revision", flat=True)) == [0, 1]
        credit_grant(kind="promo", amount_nano=3 * NANO, source="test")
    assert take(tenant_id) == 0  # less is owed than was told
    lines_post(tenant_id=tenant_id)
    closed = close(tenant_id)
    assert counted(timed, tenant_id) + lines_cents(tenant_id) == closed.net_nano // CENT
    assert lines_cents(tenant_id) == -300
    push(closed)
    assert lines_cents(tenant_id) == -300
    invoice = renewed(timed, tenant_id)
    books_are_right(tenant_id)
    assert "the meter could not take: −$3.00" in words(cast.owner, "/billing/months/2026-10/")
    rows = cast.owner.browser.get(f"{cast.owner.home}/billing/invoices/{invoice.public_id}/csv").content.decode()
    asked = sum(Decimal(row["amount_usd"]) for row in csv.DictReader(io.StringIO(rows)))
    assert asked * 100 == invoice.total == 2900 + closed.net_nano // CENT


def test_what_a_running_month_owes_may_fall_and_makes_no_line_after_the_first(cast: Cast, metered: Emulator) -> None:
    tenant_id = cast.owner.tenant.id
    buy(cast.owner, metered)
    subscribed(tenant_id)
    use(tenant_id, 1, 20 * NANO)
    take(tenant_id)
    with tenant_scope(tenant_id):
        credit_grant(kind="promo", amount_nano=3 * NANO, source="before the close")
    closed = close(tenant_id)
    assert lines_cents(tenant_id) == -300
    later = 24 * 30
    for number in (2, 3):
        use(tenant_id, number, 30 * NANO, at=MID_OCTOBER + dt.timedelta(hours=later + number))
        lines_post(tenant_id=tenant_id)
        assert take(tenant_id, later + number + 1.5) > 0, "what it owes is told again, however far it fell"
        with tenant_scope(tenant_id):
            credit_grant(kind="promo", amount_nano=4 * NANO, source=f"while it runs {number}")
            assert meter_account(hour_closed(now())).left_nano // CENT == -400
        push(closed)
        assert lines_cents(tenant_id) == -300
    assert counted(metered, tenant_id) + lines_cents(tenant_id) > closed.net_nano // CENT


@pytest.mark.parametrize("first", ["invoice_items", "meter_events"])
def test_a_switch_in_the_middle_of_a_month_charges_nothing_twice(cast: Cast, metered: Emulator, first: str) -> None:
    tenant_id = cast.owner.tenant.id
    buy(cast.owner, metered)
    second = {"invoice_items": "meter_events", "meter_events": "invoice_items"}[first]
    for number, sink in enumerate((first, second)):
        with override_settings(USAGE_SINK=sink):
            take(tenant_id, number * 3)
            use(tenant_id, number, (12 + number) * NANO + 7_777_760, at=MID_OCTOBER + number * 3 * HOUR)
            lines_post(tenant_id=tenant_id)
            take(tenant_id, number * 3 + 2)
    with override_settings(USAGE_SINK=second):
        closed = close(tenant_id)
        push(closed)
        take(tenant_id, 800)
    with tenant_scope(tenant_id):
        assert BillSink.objects.get(period=OCTOBER).sink == "meter_events"
    assert counted(metered, tenant_id) > 0
    assert counted(metered, tenant_id) + lines_cents(tenant_id) == closed.net_nano // CENT


def test_a_bill_that_went_as_items_stays_there_when_meters_are_switched_on(cast: Cast, metered: Emulator) -> None:
    tenant_id = cast.owner.tenant.id
    buy(cast.owner, metered)
    with override_settings(USAGE_SINK="invoice_items"):
        use(tenant_id, 1, 15 * NANO)
        closed = close(tenant_id)
    subscribed(tenant_id)
    assert take(tenant_id, 24 * 20) == 0
    push(closed)
    assert (lines_cents(tenant_id), counted(metered, tenant_id)) == (closed.net_nano // CENT, 0)


def test_usage_that_came_twice_is_delivered(cast: Cast, metered: Emulator) -> None:
    buy(cast.owner, metered)
    subscribed(cast.owner.tenant.id)
    with tenant_scope(cast.owner.tenant.id):
        customer = BillingCustomer.objects.get().stripe_id
    name = f"{customer}:usage:1:0"
    event: dict[str, Any] = {"event_name": METER, "customer_id": customer, "units": 7, "identifier": name}
    at = int(now().timestamp())
    assert [stripe_port().meter_event_send(**event, at=at, key=f"{name}-{n}") for n in range(3)] == [True, False, False]
    assert counted(metered, cast.owner.tenant.id) == 7


def test_a_plan_by_the_year_leaves_the_meter_and_what_it_never_billed_goes_on_an_invoice(
    cast: Cast, metered: Emulator
) -> None:
    tenant_id = cast.owner.tenant.id
    buy(cast.owner, metered)
    subscribed(tenant_id)
    use(tenant_id, 1, 15 * NANO)
    take(tenant_id)
    assert ordered(tenant_id, lambda: plan_change(plan="developer", interval="year")).state == "done"
    with tenant_scope(tenant_id):
        subscription = Subscription.objects.get()
        assert len(subscription.raw["items"]["data"]) == 1 and subscription.plan == "developer"
        MeterReading.objects.update(sent_at=now() - dt.timedelta(days=2))
    readings_settle(tenant_id=tenant_id)
    closed = close(tenant_id)
    assert states(tenant_id) == ["lost"] and lines_cents(tenant_id) == closed.net_nano // CENT


def test_a_change_to_the_year_takes_off_a_meter_that_came_before_it_was_sent(cast: Cast, metered: Emulator) -> None:
    tenant_id = cast.owner.tenant.id
    buy(cast.owner, metered)
    with tenant_scope(tenant_id):
        stripe_id = Subscription.objects.get().stripe_id
        commands.command_write("meter_item", {"subscription": stripe_id})
    assert ordered(tenant_id, lambda: plan_change(plan="developer", interval="year")).state == "done"
    with tenant_scope(tenant_id):
        assert StripeCommand.objects.get(operation="meter_item").state == "done"
        (item,) = Subscription.objects.get().raw["items"]["data"]
        assert item["price"]["recurring"]["interval"] == "year"


def test_the_meter_stays_through_a_change_of_plan_and_a_rest_bills_nothing(cast: Cast, metered: Emulator) -> None:
    tenant_id = cast.owner.tenant.id
    buy(cast.owner, metered)
    subscribed(tenant_id)
    assert ordered(tenant_id, lambda: plan_change(plan="team")).state == "done"
    use(tenant_id, 1, 90 * NANO)
    cents = take(tenant_id)
    with tenant_scope(tenant_id):
        subscription = Subscription.objects.get()
        assert (subscription.plan, len(subscription.raw["items"]["data"])) == ("team", 2)
        began = now() - dt.timedelta(days=2)
        MeterReading.objects.update(at=began - dt.timedelta(days=3))
        Subscription.objects.update(period_start=began, fetched_at=now())
    readings_settle(tenant_id=tenant_id)
    assert states(tenant_id) == ["lost"]
    assert take(tenant_id) == cents > 0  # owed again, and told with the same hour's next revision


def test_after_a_day_the_meter_is_read_before_anything_is_sent(
    cast: Cast, metered: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant_id = cast.owner.tenant.id
    buy(cast.owner, metered)
    subscribed(tenant_id)
    use(tenant_id, 1, 15 * NANO)
    take(tenant_id)
    with tenant_scope(tenant_id):
        MeterReading.objects.update(state="waiting", sent_at=None)
        StripeCommand.objects.filter(operation="meter_event").update(
            state="waiting", first_sent_at=now() - dt.timedelta(days=2)
        )
    monkeypatch.setattr(StripePort, "meter_event_send", None)
    commands.commands_send(tenant_id)
    assert states(tenant_id) == ["sent"]


def test_a_reading_whose_answer_was_lost_around_the_end_is_where_the_invoice_has_it(
    cast: Cast, timed: Emulator
) -> None:
    tenant_id = cast.owner.tenant.id
    buy(cast.owner, timed)
    subscribed(tenant_id)
    use(tenant_id, 1, 15 * NANO)
    cents = take(tenant_id)
    with tenant_scope(tenant_id):
        arrived, end = MeterReading.objects.get(), Subscription.objects.get().period_end
        assert end is not None
        answered = end + 3 * HOUR  # the invoice is final an hour after the end
        for revision, first in ((8, now()), (9, answered)):
            name = f"{tenant_id}:usage:{revision}"
            facts = {"period": OCTOBER, "hour": arrived.hour, "at": arrived.at, "state": "sent", "identifier": name}
            never = MeterReading.objects.create(
                units=5, revision=revision, subscription_id=arrived.subscription_id, **facts
            )
            StripeCommand.objects.create(
                operation="meter_event", once=str(never.pk), params={}, key=name, state="done", first_sent_at=first
            )
        MeterReading.objects.update(sent_at=answered)
    invoice = renewed(timed, tenant_id)
    assert invoice.total == 2900 + cents
    assert states(tenant_id) == ["billed", "lost", "lost"]


BORDERS: dict[str, tuple[Any, str, bool]] = {
    "claimed": (commands, "_claim", True),
    "sent": (StripePort, "meter_event_send", True),
    "answered": (commands, "_end", False),
    "noted": (commands, "_end", True),
}
STEPS = st.one_of(
    st.tuples(st.just("use"), st.integers(0, 300), st.integers(1, 700_000_000).map(lambda n: n * 20)),
    st.tuples(st.just("credit"), st.just(0), st.integers(1, 10 * NANO)),
    st.tuples(st.just("take"), st.integers(0, 300), st.just(0)),
    st.tuples(st.just("die"), st.integers(0, 300), st.integers(0, 3)),
    st.tuples(st.just("twice"), st.just(0), st.just(0)),
    st.tuples(st.just("switch"), st.just(0), st.just(0)),
    st.tuples(st.just("close"), st.just(0), st.just(0)),
)


@settings(
    max_examples=12,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(STEPS, min_size=4, max_size=12))
def test_whatever_happens_the_meter_and_the_lines_have_the_bill(
    cast: Cast, metered: Emulator, monkeypatch: pytest.MonkeyPatch, steps: list[tuple[str, int, int]]
) -> None:
    person = make_person("metered")
    tenant_id, on, closed = person.tenant.id, True, None
    buy(person, metered)
    subscribed(tenant_id)
    for number, (step, hours, value) in enumerate(steps):
        with override_settings(USAGE_SINK="meter_events" if on else "invoice_items"):
            if step == "use":
                use(tenant_id, number, value, at=MID_OCTOBER + hours * HOUR)
                lines_post(tenant_id=tenant_id)
            elif step == "credit":
                with tenant_scope(tenant_id):
                    credit_grant(kind="promo", amount_nano=value, source=f"test {number}")
            elif step == "take":
                take(tenant_id, hours)
            elif step == "die":
                with monkeypatch.context() as patch:
                    deadly(patch, *list(BORDERS.values())[value])
                    try:
                        take(tenant_id, hours)
                    except Killed:
                        taken_for_dead(tenant_id)
            elif step == "twice":
                again(tenant_id)
            elif step == "switch":
                on = not on
            elif closed is None:
                closed = close(tenant_id)
    with override_settings(USAGE_SINK="meter_events" if on else "invoice_items"):
        commands.commands_send(tenant_id)
        closed = closed or close(tenant_id)
        push(closed)
        # Late usage of the closed month is on the bill of the next.
        for _ in range(2):
            take(tenant_id, 24 * 40)
            push(closed)
    with tenant_scope(tenant_id):
        items = not BillSink.objects.filter(sink="meter_events").exists()
        assert not StripeCommand.objects.filter(state="waiting").exists()
    if items:
        assert counted(metered, tenant_id) == 0
    else:
        assert counted(metered, tenant_id) + lines_cents(tenant_id) == closed.net_nano // CENT


def deadly(patch: pytest.MonkeyPatch, owner: Any, name: str, after: bool) -> None:
    """Let the process die at a border, the first time it comes there."""
    real: Callable[..., Any] = getattr(owner, name)

    def dies(*args: Any, **values: Any) -> Any:
        if after:
            real(*args, **values)
        raise Killed

    patch.setattr(owner, name, dies)


def again(tenant_id: UUID) -> None:
    """Everything that was sent is sent once more, under other keys, as after a lost answer and a forgotten key."""
    with tenant_scope(tenant_id):
        rows = list(StripeCommand.objects.filter(operation="meter_event").exclude(request=None))
    for row in rows:
        stripe_port().meter_event_send(**(row.request or {}), key=f"again-{row.pk}")


@given(st.lists(st.tuples(st.integers(-(10**12), 10**12), st.booleans()), max_size=30))
def test_the_account_is_exact_by_whichever_way_each_part_goes(moves: list[tuple[int, bool]]) -> None:
    owed = taken = 0
    for change, metered_then in moves:
        owed = max(0, owed + change)
        account = MeterAccount(closed_nano=owed, open_nano=0, taken_cents=taken)
        if metered_then:
            assert account.reading_cents >= 0
            taken += account.reading_cents
        taken += MeterAccount(owed, 0, taken).line_cents(metered=metered_then)
        assert 0 <= owed - taken * CENT < CENT


def test_hours_close_ten_minutes_after_their_end() -> None:
    end = bounds(OCTOBER)[1]
    assert hour_closed(end + dt.timedelta(minutes=9)) == end - HOUR
    assert hour_closed(end + dt.timedelta(minutes=10)) == end
