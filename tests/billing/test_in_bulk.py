"""Work on many organisations in one transaction comes to what work on each of them would, to the row."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from typing import Any

import pytest
from django.db import connections, transaction
from django.db.models import Sum
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from billing.models import (
    BillLineShare,
    DirtyHour,
    EntitlementOverride,
    LedgerEntry,
    LedgerTransaction,
    PeriodClose,
    RatedLine,
    TenantEntitlement,
    UsageHour,
)
from billing.periods import bounds
from billing.prices import Usage
from billing.selectors.bills import balances
from billing.selectors.invariants import findings
from billing.selectors.many import limits_to_look_at
from billing.services.closing import lines_post_many, periods_close_many
from billing.services.credits import credit_grant
from billing.services.ledger import books_lock, lines_post, lines_post_here, period_close
from billing.services.limits import project_limits_set
from billing.services.locks import days_lock, ledger_lock, locks
from billing.services.metering import _rollup_many, usage_record, usage_rollup
from billing.services.sweeps import for_batches
from kit.clock import now
from kit.ids import new_id
from kit.money import NANO
from tenants.models import Tenant
from tenants.scope import OPS, ops_scope, tenant_scope
from tests.billing.money import BOOK, EURO, call, entitle, store_events
from tests.billing.test_killed_money import dies_at
from tests.conftest import CURRENCY, Cast

SEPTEMBER, OCTOBER = dt.date(2026, 9, 1), dt.date(2026, 10, 1)


def organisations(count: int, *, euros: Sequence[bool] = ()) -> list[uuid.UUID]:
    """Organisations without anybody in them, some of which pay in euros."""
    pay_in = ["eur" if one else "usd" for one in euros] or [CURRENCY] * count
    with ops_scope("a test"):
        rows = [
            Tenant(id=new_id(), name=f"Many {n}", slug=f"many-{uuid.uuid4().hex[:12]}", currency=pay_in[n])
            for n in range(count)
        ]
        Tenant.ops.bulk_create(rows)
    return [row.pk for row in rows]


def use(
    tenant_id: uuid.UUID, calls: Sequence[tuple[int, int, str]], first: int = 0, month: dt.date = OCTOBER,
    book: str = BOOK,
) -> None:  # fmt: skip
    """Calls of (day of the month, cost / 20, kind), summed and rated."""
    start = bounds(month)[0]
    store_events(
        [
            call(
                tenant_id,
                first + n,
                cost=20 * twenties,
                at=start + dt.timedelta(days=day, hours=n),
                kind=kind,
                book=book,
            )
            for n, (day, twenties, kind) in enumerate(calls)
        ]
    )
    while usage_rollup(tenant_id=tenant_id):
        pass


def close_all(tenant_ids: Sequence[uuid.UUID]) -> int:
    """October of these, as the tick closes it."""
    due = [(one, OCTOBER) for one in tenant_ids]
    return for_batches(
        "period_close", due, periods_close_many, lambda one: int(period_close(tenant_id=one[0], period=one[1]).fresh)
    )


def books(tenant_id: uuid.UUID) -> dict[str, Any]:
    """Everything that posting and closing write of a tenant, without ids and moments."""
    with tenant_scope(tenant_id):
        lines = RatedLine.objects.order_by("day", "kind", "model")
        closes = PeriodClose.objects.order_by("period")
        shares = BillLineShare.objects.order_by("rated_line__day", "rated_line__kind", "amount_nano")
        moved = LedgerTransaction.objects.order_by("kind", "key").exclude(kind="usage")
        entries = LedgerEntry.objects.order_by("transaction__kind", "account", "amount_nano")
        return {
            "lines": list(lines.values_list("day", "kind", "amount_nano", "posted_nano", "invoiced_nano")),
            "closes": list(
                closes.values("period", "usage_nano", "allowance_nano", "drawn_nano", "drawn", "net_nano", "lines")
            ),
            "shares": list(shares.values_list("close__period", "quantity", "amount_nano")),
            "moved": list(moved.values_list("kind", "key", "memo", "detail")),
            "posted": [sorted(one["lines"].values()) for one in _details()],
            "entries": list(entries.values_list("transaction__kind", "account", "amount_nano")),
            "balances": balances(),
        }


def _details() -> list[dict[str, Any]]:
    return list(LedgerTransaction.objects.filter(kind="usage").order_by("at").values_list("detail", flat=True))


CALLS = st.lists(
    st.tuples(st.integers(0, 27), st.integers(1, 10**6), st.sampled_from(["classify", "embeddings"])),
    max_size=6,
)


@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
@given(
    usage=st.lists(st.tuples(CALLS, CALLS, st.integers(0, 10**7), st.booleans()), min_size=2, max_size=4),
    euros=st.permutations([True, False, True, False]),
)
def test_a_month_closed_with_others_is_the_month_closed_alone(
    usage: list[tuple[list[tuple[int, int, str]], list[tuple[int, int, str]], int, bool]], euros: list[bool]
) -> None:
    euros = euros[: len(usage)]
    alone, together = organisations(len(usage), euros=euros), organisations(len(usage), euros=euros)
    for ones in (alone, together):
        for tenant_id, (before, calls, allowance, late), euro in zip(ones, usage, euros, strict=True):
            book = EURO if euro else "2026-11-01"
            entitle(tenant_id, spend_nano=10**12, allowance_nano=allowance)
            if late:  # September is closed before the last of its usage arrives
                use(tenant_id, before[:1], first=100, month=SEPTEMBER, book=book)
                period_close(tenant_id=tenant_id, period=SEPTEMBER)
                use(tenant_id, before[1:], first=200, month=SEPTEMBER, book=book)
            use(tenant_id, calls, book=book)
    for tenant_id in alone:
        lines_post(tenant_id=tenant_id)
        period_close(tenant_id=tenant_id, period=OCTOBER)
    lines_post_many(together)
    closed, left = periods_close_many([(one, OCTOBER) for one in together])
    assert (closed, left) == (len(together), [])
    assert [books(one) for one in together] == [books(one) for one in alone]
    assert periods_close_many([(one, OCTOBER) for one in together]) == (0, []), "once more changes nothing"
    assert [books(one) for one in together] == [books(one) for one in alone]
    assert list(findings(together)) == []
    assert asked_by_currency(together) == asked_by_currency(alone)
    used = {"eur": 0, "usd": 0}
    for euro, (before, calls, _, late) in zip(euros, usage, strict=True):
        used["eur" if euro else "usd"] += sum(20 * twenties for _, twenties, _ in [*calls, *(before if late else [])])
    assert asked_by_currency(together) == {code: used[code] for code in asked_by_currency(alone)}


def asked_by_currency(tenant_ids: Sequence[uuid.UUID]) -> dict[str, int]:
    """All usage on bills of some organisations, by what they pay in."""
    with ops_scope("a test"):
        rows = PeriodClose.ops.filter(tenant_id__in=tenant_ids).values_list("tenant__currency")
        return {code: int(nano) for code, nano in rows.annotate(n=Sum("usage_nano")).order_by()}


def test_posting_with_others_is_posting_alone_and_touches_nobody_else() -> None:
    alone, together, other = organisations(3)
    for tenant_id in (alone, together, other):
        use(tenant_id, [(1, 500, "classify"), (2, 30, "embeddings")])
    before = books(other)
    assert lines_post(tenant_id=alone) == 10_600
    assert lines_post_many([together]) == (10_600, [])
    assert books(together) == books(alone)
    assert books(other) == before
    use(together, [(1, 5, "classify")], first=50)
    assert lines_post_many([together]) == (100, [])
    assert lines_post_many([together]) == (0, [])


def test_who_needs_more_than_statements_is_left() -> None:
    plain, credited, contracted, busy = organisations(4)
    for tenant_id in (plain, credited, contracted, busy):
        use(tenant_id, [(1, 500, "classify")])
    with tenant_scope(credited):
        credit_grant(kind="promo", amount_nano=3_000, source="welcome")
    with tenant_scope(contracted):
        EntitlementOverride.objects.create(limits={}, reason="a contract", created_by="staff")
    with tenant_scope(busy):
        ledger_lock(busy)
        assert lines_post_many([plain, credited, contracted, busy]) == (20_000, [credited, busy])
    everybody = [(one, OCTOBER) for one in (plain, credited, contracted, busy)]
    closed, left = periods_close_many(everybody)
    assert closed == 2
    assert left == [(credited, OCTOBER), (contracted, OCTOBER)]


def test_what_is_being_rated_is_posted_after_it_and_what_is_being_posted_is_rated_after_it() -> None:
    plain, rating = organisations(2)
    for tenant_id in (plain, rating):
        use(tenant_id, [(1, 500, "classify")])
    with tenant_scope(rating):
        days_lock(rating)
        assert lines_post_many([plain, rating]) == (10_000, [rating])
        assert periods_close_many([(plain, OCTOBER), (rating, OCTOBER)]) == (1, [(rating, OCTOBER)])

    def free() -> set[uuid.UUID]:
        with ops_scope("a test"), transaction.atomic(using=OPS), connections[OPS].cursor() as cursor:
            return locks(cursor, "rate", [rating])

    with tenant_scope(rating):
        books_lock(rating)
        assert free() == {rating}, "who only reads the books keeps nobody from rating"
        assert lines_post_here() == 10_000
        assert free() == set()
    assert free() == {rating}
    assert list(findings([plain, rating])) == []


def test_credit_that_is_used_up_and_billed_keeps_nobody_apart() -> None:
    tenant_id, *_ = organisations(1)
    use(tenant_id, [(1, 500, "classify")], month=SEPTEMBER)
    with tenant_scope(tenant_id):
        credit_grant(kind="promo", amount_nano=3_000, source="welcome")
    lines_post(tenant_id=tenant_id)
    use(tenant_id, [(1, 500, "classify")], first=10)
    assert lines_post_many([tenant_id]) == (0, [tenant_id]), "what credit paid for is on no bill"
    period_close(tenant_id=tenant_id, period=SEPTEMBER, allowance_nano=0)
    assert periods_close_many([(tenant_id, OCTOBER)]) == (1, [])
    assert list(findings([tenant_id])) == []


def test_one_bad_organisation_stops_nobody_else() -> None:
    everybody = organisations(9)
    for tenant_id in everybody:
        use(tenant_id, [(1, 500, "classify")])
    bad = everybody[4]
    entitle(bad, spend_nano=10**12)
    with tenant_scope(bad):
        TenantEntitlement.objects.update(allowance={})
    with pytest.raises(KeyError):
        close_all(everybody)
    with tenant_scope(bad):  # other tests close everybody's months
        TenantEntitlement.objects.update(allowance={"usage_nano": 0})
    closed = {one for one in everybody if books(one)["closes"]}
    assert closed == set(everybody) - {bad}
    assert list(findings(everybody)) == []


@pytest.mark.slow
def test_a_worker_killed_at_any_step_of_closing_together_loses_and_doubles_nothing() -> None:
    border, deaths = 1 + uuid.uuid4().int % 3, 0
    while True:
        together = organisations(3)
        for tenant_id in together:
            use(tenant_id, [(1, 500, "classify"), (3, 70, "embeddings")])

        def work(ones: list[uuid.UUID] = together) -> None:
            for_batches("lines_post", ones, lines_post_many, lambda one: lines_post(tenant_id=one))
            close_all(ones)

        died = dies_at(border, work)
        work()  # the dead one's session may hold its locks a moment longer: who is left is waited for
        for tenant_id in together:
            assert [close["usage_nano"] for close in books(tenant_id)["closes"]] == [11_400]
        assert list(findings(together)) == []
        if not died:
            break
        deaths += 1
        border += 3
    assert deaths > 5, "fewer steps than the work has"


def test_hours_summed_with_others_are_the_hours_summed_alone(cast: Cast) -> None:
    key = cast.owner.key_row
    alone, together, other = organisations(3)
    moments = [bounds(OCTOBER)[0] + dt.timedelta(days=day, minutes=minute) for day in (1, 5) for minute in (0, 70, 75)]
    for tenant_id in (alone, together, other):
        store_events([call(tenant_id, n, cost=20 * n + 20, at=at) for n, at in enumerate(moments)])
    with tenant_scope(cast.owner.tenant.id):
        used = usage_record(
            request_id="r", usage=Usage("classify", "b", input_tokens=1), project_id=key.project_id, key_id=key.id
        )
    assert usage_rollup(tenant_id=alone) == 4
    with ops_scope("a test"):
        marks = list(
            DirtyHour.ops.filter(tenant_id__in=[together, cast.owner.tenant.id])
            .order_by("tenant_id", "hour")
            .values_list("pk", "tenant_id", "hour")
        )
    assert _rollup_many(marks) == (5, [])
    assert _rollup_many(marks) == (0, []), "once more changes nothing"

    def sums(tenant_id: uuid.UUID) -> list[Any]:
        names = ("kind", "model", "input_tokens", "requests", "gpu_ms", "cost_nano")
        with tenant_scope(tenant_id):
            hours = UsageHour.objects.order_by("hour").values_list("hour", "events", *names)
            days = RatedLine.objects.order_by("day").values_list("day", "kind", "input_tokens", "amount_nano")
            return [list(hours), list(days), DirtyHour.objects.count()]

    assert sums(together) == sums(alone)
    assert sums(other)[2] == 4, "nobody else's"
    with tenant_scope(cast.owner.tenant.id):
        key.refresh_from_db()
    assert key.last_used_at == used.occurred_at


def test_limits_are_looked_at_where_one_may_be_at_a_threshold(cast: Cast) -> None:
    half, less, capped, project = *organisations(3), cast.owner.tenant.id
    for tenant_id, cap in ((half, 40_000), (less, 40_020), (capped, 0), (project, 10**9)):
        entitle(tenant_id, spend_nano=cap)
        store_events([call(tenant_id, 1, cost=20_000, at=now(), project_id=cast.owner.project.id)])
        usage_rollup(tenant_id=tenant_id)
    assert limits_to_look_at([half, less, capped, project]) == [half]
    with tenant_scope(project):
        project_limits_set(project=cast.owner.project, limits={"monthly_spend_nano": 30_000})
    assert limits_to_look_at([half, less, capped, project]) == [half, project]
    with tenant_scope(less):
        credit_grant(kind="promo", amount_nano=NANO, source="welcome")
    assert limits_to_look_at([half, less, capped, project]) == [half, less, project]
