"""What storage and engines take of a spend limit is read from rated days, and is what their events sum to."""

from __future__ import annotations

import datetime as dt
import threading
import uuid

import pytest
from django.db import connections
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from billing.metering import PostgresSink
from billing.models import Budget
from billing.periods import bounds
from billing.prices import ENGINES, STORAGE
from billing.selectors.budgets import budget_name, promised_nano, spent_nano
from billing.services.gate import sink_dsn
from billing.services.metering import usage_rollup
from tenants.scope import tenant_scope
from tests.billing.money import call
from tests.conftest import make_person

MONTH = dt.date(2026, 10, 1)
START, END = bounds(MONTH)
HOURS = int((END - START).total_seconds()) // 3600
WITHOUT_SHRINKING = (Phase.explicit, Phase.reuse, Phase.generate)  # each example makes a tenant

Event = tuple[int, int, str, int]
"""Which hour from the month's beginning on, which project, which kind, and 20 nano-USD how often."""
EVENTS = st.lists(
    st.tuples(st.integers(-2, HOURS + 1), st.integers(0, 1), st.sampled_from([STORAGE, ENGINES, "classify"]),
              st.integers(1, 50)), min_size=1, max_size=12,
)  # fmt: skip


def summed(budget: Budget) -> int:
    """The plain sum."""
    return sum(spent_nano(budget.scope, budget.scope_id, START, END, kind=kind) for kind in (STORAGE, ENGINES))


@pytest.mark.slow
@settings(
    max_examples=25,
    deadline=None,
    phases=WITHOUT_SHRINKING,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=st.lists(st.one_of(EVENTS, st.just("roll up"), st.just("again")), min_size=2, max_size=8))
def test_it_is_the_plain_sum_whatever_came_late_or_twice_and_whenever_it_was_rolled_up(
    django_db_setup: None, steps: list[list[Event] | str]
) -> None:
    tenant_id, sink, number = make_person("ada").tenant.id, PostgresSink(sink_dsn()), 0
    projects, sent = [uuid.uuid4(), uuid.uuid4()], []
    with tenant_scope(tenant_id):
        scopes = [("tenant", tenant_id.hex), *(("project", one.hex) for one in projects)]
        budgets = [Budget.objects.create(name=budget_name(*one), scope=one[0], scope_id=one[1]) for one in scopes]
    for step in steps:
        if step == "roll up":
            usage_rollup(tenant_id=tenant_id)
        elif step == "again":
            sink(sent)
        else:
            made = []
            for hour, project, kind, times in step:
                number += 1
                at, mine = START + dt.timedelta(hours=hour, minutes=number % 60), projects[project]
                made.append(call(tenant_id, number, cost=20 * times, at=at, kind=kind, project_id=mine))
            sink(made)
            sent += made
        with tenant_scope(tenant_id):
            assert [promised_nano(one, MONTH) for one in budgets] == [summed(one) for one in budgets]


def test_events_that_arrive_while_days_are_rolled_up_are_never_counted_twice_or_left_out(
    django_db_setup: None,
) -> None:
    tenant_id, ended = make_person("ada").tenant.id, threading.Event()
    with tenant_scope(tenant_id):
        budget = Budget.objects.create(name="t:s", scope="tenant", scope_id=tenant_id.hex)

    looks, came = [0], [0]

    def come() -> None:
        sink = PostgresSink(sink_dsn())
        while came[0] < 150 or (looks[0] < 10 and came[0] < 5_000):  # on a busy machine looks come seldom
            at = START + dt.timedelta(hours=came[0] % 60)
            sink([call(tenant_id, came[0], cost=20, at=at, kind=ENGINES)])
            came[0] += 1
        ended.set()

    def roll() -> None:
        while not ended.is_set():
            usage_rollup(tenant_id=tenant_id)
        connections.close_all()

    threads = [threading.Thread(target=work) for work in (come, roll, roll)]
    for thread in threads:
        thread.start()
    while not ended.is_set():
        with tenant_scope(tenant_id):
            before = summed(budget)
            found = promised_nano(budget, MONTH)
            after = summed(budget)
        assert before <= found <= after
        looks[0] += 1
    for thread in threads:
        thread.join()
    usage_rollup(tenant_id=tenant_id)
    with tenant_scope(tenant_id):
        assert promised_nano(budget, MONTH) == summed(budget) == came[0] * 20
    assert looks[0]
