"""Tiers and packages charged for real: with usage, at the close, priced anew, late, and out of credit."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections import Counter
from functools import partial

import pytest
from django.db import transaction
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from billing.ledger.lines import PACKAGES, TIERS
from billing.metering import event_id
from billing.models import CreditGrant, PeriodClose, RatedLine, UsageEvent
from billing.prices import Usage, adjustment, price_books, rate
from billing.prices.rating import base_of
from billing.selectors.bills import balances, invoice_preview
from billing.selectors.budgets import budget_month
from billing.selectors.invariants import findings
from billing.selectors.many import quantities_differ
from billing.selectors.wallet import balance_nano
from billing.services.credits import credit_grant
from billing.services.ledger import lines_post, period_close
from billing.services.metering import usage_rollup
from billing.services.rerating import Wanted, rerate
from kit.clock import now
from kit.errors import Conflict
from kit.money import NANO
from tenants.scope import OPS, ops_scope, tenant_scope
from tests.billing.money import entitle
from tests.billing.test_billing_check import tamper
from tests.conftest import Cast, make_person

FLAT, TIERED = "2026-11-30.4", "2026-11-30.5"
OCTOBER = dt.date(2026, 10, 1)
MID_OCTOBER = dt.datetime(2026, 10, 15, 12, tzinfo=dt.UTC)
BILLION = 10**9
BASE = "all-MiniLM-L6-v2"
TUNED = f"ft:{BASE}:o:s:1"


def event(
    tenant_id: uuid.UUID, number: int, usage: Usage, at: dt.datetime = MID_OCTOBER, version: str = TIERED
) -> UsageEvent:
    """Usage at the first unit's price of a published book."""
    return UsageEvent(
        id=event_id(tenant_id, f"req_{number}", usage.kind), request_id=f"req_{number}", tenant_id=tenant_id,
        project_id=tenant_id, model=usage.model, kind=usage.kind, input_tokens=usage.input_tokens, output_tokens=0,
        requests=1, gpu_ms=usage.machine_ms, byte_hours=usage.byte_hours, price_version=version,
        cost_nano=rate(usage, price_books().get(version)), occurred_at=at,
    )  # fmt: skip


def used(tenant_id: uuid.UUID, *events: UsageEvent) -> None:
    with tenant_scope(tenant_id):
        UsageEvent.objects.bulk_create(events)
    while usage_rollup(tenant_id=tenant_id):
        pass
    lines_post(tenant_id=tenant_id)


def read(tokens: int, model: str = BASE, kind: str = "embeddings") -> Usage:
    return Usage(kind, model, tokens)


def right(tenant_id: uuid.UUID) -> None:
    assert [found.message for found in findings([tenant_id])] == []


def of_october(tenant_id: uuid.UUID) -> int:
    with tenant_scope(tenant_id):
        return sum(RatedLine.objects.filter(day__month=10).values_list("posted_nano", flat=True))


def test_a_month_pays_its_tiers_and_says_so_line_by_line(cast: Cast) -> None:
    tenant_id = cast.owner.tenant.id
    used(tenant_id, event(tenant_id, 1, read(2 * BILLION)), event(tenant_id, 2, read(BILLION // 2, TUNED)))
    closed = period_close(tenant_id=tenant_id, period=OCTOBER, allowance_nano=0)
    assert {line.description: line.amount_nano for line in closed.lines} == {
        f"Embeddings · {BASE}": 25 * NANO,
        f"Tier adjustment · Embeddings · {BASE}, 2,500,000,000 tokens": -3 * NANO,
    }
    assert closed.close.net_nano == 22 * NANO == 10 * NANO + 12 * NANO
    again = period_close(tenant_id=tenant_id, period=OCTOBER, allowance_nano=0)
    assert not again.fresh and again.lines == closed.lines
    with tenant_scope(tenant_id):
        assert (balances()["receivable"], balances()["usage_revenue"]) == (22 * NANO, -22 * NANO)
    used(tenant_id, event(tenant_id, 3, read(BILLION)))  # late: at the second tier's price, on the next bill
    november = period_close_of_now(tenant_id)
    assert november == {
        f"Embeddings · {BASE} (late, 2026-10)": 10 * NANO,
        f"Tier adjustment · Embeddings · {BASE} (late, 2026-10)": -2 * NANO,
    }
    right(tenant_id)


def period_close_of_now(tenant_id: uuid.UUID) -> dict[str, int]:
    with tenant_scope(tenant_id):
        return {line.description: line.amount_nano for line in invoice_preview().usage_lines}


def test_volume_and_packages_count_the_month_over_all_projects(cast: Cast) -> None:
    tenant_id = cast.owner.tenant.id
    entitle(tenant_id, spend_nano=10**15)
    hours = Usage("dedicated", BASE, requests=0, machine_ms=600 * 3_600_000)
    stored = Usage("storage", "files", requests=0, byte_hours=745 * 10**9)
    used(tenant_id, event(tenant_id, 1, hours), event(tenant_id, 2, stored))
    assert of_october(tenant_id) == 600 * 288_000_000 + 2 * 101_928_000
    right(tenant_id)


@pytest.mark.parametrize(("room", "added"), [(10**12, 101_928_000 - 137_000), (5_000_000, 5_000_000 - 137_000), (0, 0)])
def test_a_package_takes_no_more_than_the_limit_has_left(cast: Cast, room: int, added: int) -> None:
    tenant_id, at = cast.owner.tenant.id, now()
    entitle(tenant_id, spend_nano=room or 137_000)
    used(tenant_id, event(tenant_id, 1, Usage("storage", "files", requests=0, byte_hours=10**9), at=at))
    with tenant_scope(tenant_id):
        lines = RatedLine.objects.filter(price_version=PACKAGES + TIERED)
        assert sum(lines.values_list("posted_nano", flat=True)) == added
        month = budget_month()
    assert month is not None and month.promised_nano == 137_000 + added <= (room or 137_000)
    right(tenant_id)


PACKAGE = 744 * 10**9
WHOLE = 101_928_000


def stored(tenant_id: uuid.UUID, number: int, byte_hours: int, cost: int, at: dt.datetime = MID_OCTOBER) -> UsageEvent:
    """Storage of which a limit carried `cost`."""
    made = event(tenant_id, number, Usage("storage", "files", requests=0, byte_hours=byte_hours), at=at)
    assert cost <= made.cost_nano
    made.cost_nano = cost
    return made


def test_storage_that_a_limit_let_off_begins_no_package(cast: Cast) -> None:
    tenant_id = cast.owner.tenant.id
    entitle(tenant_id, spend_nano=10**15)
    used(tenant_id, stored(tenant_id, 1, PACKAGE, WHOLE))
    for hour in range(1, 11):  # the project's limit is used up, and 100 GB stay
        at = MID_OCTOBER + dt.timedelta(hours=hour)
        used(tenant_id, stored(tenant_id, 1 + hour, 100 * 10**9, 0, at))
        assert of_october(tenant_id) == WHOLE
    used(tenant_id, stored(tenant_id, 20, 10**9, 137_000))
    assert of_october(tenant_id) == 2 * WHOLE, "what is paid for again begins the next"
    right(tenant_id)


def test_a_package_that_was_paid_stays_while_the_rest_of_it_is_let_off(cast: Cast) -> None:
    tenant_id = cast.owner.tenant.id
    entitle(tenant_id, spend_nano=WHOLE)
    used(tenant_id, stored(tenant_id, 1, 100 * 10**9, 13_700_000, now()))
    used(tenant_id, stored(tenant_id, 2, 100 * 10**9, 0, now()))
    with tenant_scope(tenant_id):
        assert sum(RatedLine.objects.values_list("posted_nano", flat=True)) == WHOLE
    right(tenant_id)


@pytest.mark.parametrize(("then", "today"), [(WHOLE, 1), (5_000_000, 10**15), (137_000, 10**15)])
def test_what_a_bill_has_of_packages_is_not_todays_limits_to_say(cast: Cast, then: int, today: int) -> None:
    tenant_id = cast.owner.tenant.id
    entitle(tenant_id, spend_nano=then)
    used(tenant_id, stored(tenant_id, 1, 10**9, 137_000))
    period_close(tenant_id=tenant_id, period=OCTOBER, allowance_nano=0)
    assert of_october(tenant_id) == then
    entitle(tenant_id, spend_nano=today)
    used(tenant_id, event(tenant_id, 2, read(1000)))
    assert of_october(tenant_id) == then + rate(read(1000), price_books().get(TIERED)), "late usage changes nothing"
    late = MID_OCTOBER + dt.timedelta(days=1)
    used(tenant_id, stored(tenant_id, 3, 10**9, 137_000, late))
    more = 0 if then == WHOLE else 137_000  # a package that was paid for has it in
    assert of_october(tenant_id) == then + more + rate(read(1000), price_books().get(TIERED))
    right(tenant_id)


def test_a_bill_says_what_of_a_package_was_let_off(cast: Cast) -> None:
    ada = cast.owner
    entitle(ada.tenant.id, spend_nano=5_000_000)
    used(ada.tenant.id, stored(ada.tenant.id, 1, 10**9, 137_000))
    used(ada.tenant.id, stored(ada.tenant.id, 2, 10**9, 0))
    lines = period_close(tenant_id=ada.tenant.id, period=OCTOBER, allowance_nano=0).lines
    line = next(one for one in lines if PACKAGES in one.key)
    assert line.description == "Packages begun · Storage · files, 2 GB-hours", "though the second changed no amount"
    page = ada.browser.get(f"{ada.home}/billing/months/2026-10/line", {"key": line.key}).content.decode()
    sums = re.findall(r"<tr>\s*<th scope=\"row\">([^<]+)</th>(?:(?!</tr>).)*<td class=\"n\">([^<]+)</td>", page, re.S)
    found = {name: " ".join(text.split()) for name, text in sums}
    assert found["The month by its quantity"] == "$0.101928"
    assert found["What its usage costs in lines of its own"] == "$0.000137"
    assert found["Let off, since limits carried no more"] == "$0.096928"
    assert found["Difference"] == "$0.004863"


def test_credit_gets_back_what_a_tier_takes_off_while_the_month_runs(cast: Cast) -> None:
    tenant_id = cast.owner.tenant.id
    entitle(tenant_id, spend_nano=10**15)
    with tenant_scope(tenant_id):
        credit_grant(kind="prepaid", amount_nano=30 * NANO, source="test")
    used(tenant_id, event(tenant_id, 1, read(BILLION), at=now()))
    with tenant_scope(tenant_id):
        assert balance_nano() == 20 * NANO
    used(tenant_id, event(tenant_id, 2, read(BILLION), at=now()))
    with tenant_scope(tenant_id):
        assert balance_nano() == 12 * NANO, "the second billion costs 8"
    right(tenant_id)


def test_the_same_first_price_with_other_tiers_changes_a_month(cast: Cast) -> None:
    tenant_id = cast.owner.tenant.id
    used(tenant_id, event(tenant_id, 1, read(2 * BILLION), version=FLAT))
    assert of_october(tenant_id) == 20 * NANO
    again = partial(rerate, tenant_id=tenant_id, reason="A contract", created_by="staff")
    whole = (OCTOBER, dt.date(2026, 10, 31))
    assert again(wanted=Wanted(*whole, TIERED)) is not None
    assert of_october(tenant_id) == 18 * NANO
    assert again(wanted=Wanted(*whole, TIERED)) is None, "the same again"
    used(tenant_id, event(tenant_id, 2, read(BILLION), version=FLAT))
    assert of_october(tenant_id) == 28 * NANO, "a later call keeps its own version until it is done again"
    assert again(wanted=Wanted(*whole, TIERED)) is not None
    assert of_october(tenant_id) == 26 * NANO
    right(tenant_id)
    assert again(wanted=Wanted(*whole, FLAT)) is not None
    assert of_october(tenant_id) == 30 * NANO
    period_close(tenant_id=tenant_id, period=OCTOBER, allowance_nano=0)
    row = again(wanted=Wanted(*whole, TIERED))
    assert row is not None
    with tenant_scope(tenant_id):
        assert CreditGrant.objects.get().amount_nano == 4 * NANO, "a bill stands: what it is too dear by is credit"
    assert of_october(tenant_id) == 30 * NANO
    with pytest.raises(Conflict, match=r"would cost \$4\.00 more"):
        again(wanted=Wanted(*whole, FLAT))
    right(tenant_id)


def test_one_nano_off_is_found(cast: Cast) -> None:
    tenant_id = cast.owner.tenant.id
    used(tenant_id, event(tenant_id, 1, read(2 * BILLION)))
    tamper(tenant_id, "billing_ratedline", f"amount_nano = amount_nano - 1, posted_nano = posted_nano - 1"
           f" WHERE price_version = '{TIERS}{TIERED}'")  # fmt: skip
    said = {found.check: found.message for found in findings([tenant_id])}
    assert "its quantities make -2000000000" in said["months_are_what_their_quantities_cost"]
    assert tenant_id in differing()


def differing() -> set[uuid.UUID]:
    with ops_scope("a test"), transaction.atomic(using=OPS):
        return quantities_differ()


def test_a_line_on_another_day_than_the_first_is_found(cast: Cast) -> None:
    tenant_id, other = cast.owner.tenant.id, cast.stranger.tenant.id
    for one in (tenant_id, other):
        used(one, event(one, 1, read(2 * BILLION)), event(one, 2, read(BILLION, TUNED)))
        used(one, event(one, 3, read(2 * BILLION), at=now()))
    right(tenant_id)
    assert not {tenant_id, other} & differing()
    tamper(tenant_id, "billing_ratedline", f"day = day + 1 WHERE price_version = '{TIERS}{TIERED}'")
    said = [found.message for found in findings([tenant_id]) if found.check == "months_are_what_their_quantities_cost"]
    assert any("is not on the first day" in one for one in said)
    assert {tenant_id, other} & differing() == {tenant_id}


USAGES = st.one_of(
    st.builds(read, st.integers(0, 6 * BILLION), st.sampled_from([BASE, TUNED, "other"]), st.just("embeddings")),
    st.builds(lambda n: Usage("classify", BASE, n), st.integers(0, 12 * BILLION)),
    st.builds(lambda n: Usage("dedicated", BASE, requests=0, machine_ms=n), st.integers(0, 10**9)),
    st.builds(lambda n: Usage("storage", "files", requests=0, byte_hours=n), st.integers(10**7, 2 * 10**12)),
)
VERSIONS = st.sampled_from([FLAT, TIERED])
STEPS = st.one_of(
    st.tuples(st.just("use"), USAGES, VERSIONS),
    st.tuples(st.just("use"), USAGES, VERSIONS),
    st.tuples(st.just("rerate"), st.none(), VERSIONS),
    st.tuples(st.just("close"), st.none(), st.just("")),
    st.tuples(st.just("credit"), st.none(), st.just("")),
)


def textbook(counted: Counter[tuple[str, str, str, str]]) -> int:
    """What quantities by (kind, base, version, which) cost by their tiers and packages."""
    months: dict[tuple[str, str, str], dict[str, int]] = {}
    for (kind, base, version, what), number in counted.items():
        months.setdefault((kind, base, version), {})[what] = number
    total = 0
    for (kind, base, version), amounts in months.items():
        month, book = Usage(kind, base, requests=0, **amounts), price_books().get(version)
        change = adjustment(month, book)
        total += rate(month, book) + change.tiers + change.packages
    return total


@pytest.mark.slow
@settings(
    max_examples=20,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # making a failure smaller takes minutes
    suppress_health_check=list(HealthCheck),
)
@given(wanted=st.lists(STEPS, min_size=3, max_size=12))
def test_whatever_is_used_priced_anew_and_closed_a_month_costs_what_its_quantities_do(
    wanted: list[tuple[str, Usage | None, str]],
) -> None:
    tenant_id = make_person("months").tenant.id
    entitle(tenant_id, spend_nano=10**18)
    events: list[tuple[Usage, str]] = []
    standing: list[str] = []
    closed = False
    for number, (step, usage, version) in enumerate(wanted):
        if step == "use" and usage is not None:
            used(tenant_id, event(tenant_id, number, usage, version=version))
            events.append((usage, version))
            standing.append(version)
        elif step == "rerate":
            try:
                done = rerate(
                    tenant_id=tenant_id, wanted=Wanted(OCTOBER, dt.date(2026, 10, 31), version), reason="test",
                    created_by="test",
                )  # fmt: skip
            except Conflict:
                assert closed
                continue
            if done is not None and not closed:
                standing = [version] * len(events)
        elif step == "close":
            fresh = period_close(tenant_id=tenant_id, period=OCTOBER, allowance_nano=0).fresh
            assert fresh != closed
            closed = True
        elif step == "credit":
            with tenant_scope(tenant_id):
                credit_grant(kind="promo", amount_nano=NANO, source=f"test-{number}")
        counted: Counter[tuple[str, str, str, str]] = Counter()
        for (one, _), now_at in zip(events, standing, strict=True):
            for what in ("input_tokens", "machine_ms", "byte_hours"):
                counted[one.kind, base_of(one.model), now_at, what] += getattr(one, what)
        # Book .4 has storage by the hour, each event rounded down: there the sum of its events is the price.
        dropped = sum(
            rate(Usage("storage", "files", requests=0, byte_hours=total), price_books().get(FLAT))
            - sum(
                rate(one, price_books().get(FLAT))
                for (one, _), at in zip(events, standing, strict=True)
                if (one.kind, at) == ("storage", FLAT)
            )
            for (kind, _, at, what), total in counted.items()
            if (kind, at, what) == ("storage", FLAT, "byte_hours")
        )
        assert of_october(tenant_id) == textbook(counted) - dropped
        right(tenant_id)
    if closed:
        with tenant_scope(tenant_id):
            assert PeriodClose.objects.get(period=OCTOBER).net_nano >= 0
