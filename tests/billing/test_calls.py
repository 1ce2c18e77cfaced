"""A call from inside the house is held, charged and written down like the gateway's, or costs nothing."""

from __future__ import annotations

import uuid

import pytest
from django.db import connection
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from billing.errors import CallRefused
from billing.models import UsageEvent
from billing.quotas import QuotaStore
from billing.selectors.invariants import findings
from billing.services.calls import call_metered
from billing.services.limits import project_limits_set, spend_limit_set
from tenants.scope import tenant_scope
from tests.billing.money import entitle
from tests.billing.quota_server import QuotaServer
from tests.conftest import Cast, Person, make_person

PRICE = 20
"""Nano-USD of a token read."""


def run(person: Person, store: QuotaStore, *, tokens: int, used: int | None) -> int:
    """One call that may take `tokens` and takes `used` (None: the work fails); its cost."""
    mine = {"tenant_id": person.tenant.id, "project_id": person.project.id}
    with call_metered(**mine, kind="classify", model="m", tokens=tokens, store=store) as meter:
        assert not connection.in_atomic_block, "the work waits with no transaction open"
        if used is None:
            raise RuntimeError("the work failed")
        meter.note(input_tokens=used, machine_ms=1)
    assert meter.event is not None
    return meter.event.cost_nano


def events(person: Person) -> list[UsageEvent]:
    with tenant_scope(person.tenant.id):
        return list(UsageEvent.objects.all())


def test_a_call_costs_what_it_took_and_leaves_nothing_held(store: QuotaStore, cast: Cast) -> None:
    ada = cast.owner
    entitle(ada.tenant.id, spend_nano=10**6)
    assert run(ada, store, tokens=100, used=40) == 40 * PRICE
    (event,) = events(ada)
    assert (event.key_id, event.kind, event.input_tokens, event.requests) == (None, "classify", 40, 1)
    state, _ = store.lease_state(ada.tenant.id, "t:s")
    assert state is not None and (state.used, state.held) == (40 * PRICE, 0)


def test_a_call_that_takes_long_counts_for_as_long_as_it_was_given(store: QuotaStore, cast: Cast) -> None:
    ada = cast.owner
    mine = {"tenant_id": ada.tenant.id, "project_id": ada.project.id, "request_id": "long"}
    with call_metered(**mine, kind="classify", model="m", tokens=1, store=store, life_ms=300_000):
        now_ms = store.lease_state(ada.tenant.id, "t:s")[1]
        ends = store.line.command("ZSCORE", f"q:{{{ada.tenant.id.hex}}}:deadlines", "long")
        assert 290_000 < float(ends) - now_ms <= 300_000


def test_work_that_fails_costs_nothing(store: QuotaStore, cast: Cast) -> None:
    ada = cast.owner
    entitle(ada.tenant.id, spend_nano=10**6)
    with pytest.raises(RuntimeError):
        run(ada, store, tokens=100, used=None)
    state, _ = store.lease_state(ada.tenant.id, "t:s")
    assert state is not None and (state.used, state.held) == (0, 0)
    assert events(ada) == []


def test_without_the_quota_server_nothing_runs(server: QuotaServer, cast: Cast) -> None:
    away = QuotaStore("redis://127.0.0.1:1/0", timeout=0.2)
    with pytest.raises(CallRefused, match="costs nothing") as refused:
        run(cast.owner, away, tokens=1, used=1)
    assert refused.value.status == 503 and refused.value.headers["retry-after"] == "1"


def test_tenant_and_project_limits_both_hold(store: QuotaStore, cast: Cast) -> None:
    ada = cast.owner
    entitle(ada.tenant.id, spend_nano=10**6)
    with tenant_scope(ada.tenant.id):
        project_limits_set(project=ada.project, limits={"monthly_spend_nano": 100 * PRICE})
    run(ada, store, tokens=60, used=60)
    with pytest.raises(CallRefused, match="spend limit of your project") as refused:
        run(ada, store, tokens=60, used=60)
    assert refused.value.status == 402 and refused.value.code == "budget_exceeded"
    run(ada, store, tokens=40, used=40)


@pytest.mark.slow
@settings(
    max_examples=12,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    cap=st.integers(0, 200),
    calls=st.lists(st.tuples(st.integers(1, 80), st.none() | st.integers(0, 100)), min_size=1, max_size=8),
)
def test_calls_never_pass_a_limit_and_are_refused_only_for_it(
    server: QuotaServer, cap: int, calls: list[tuple[int, int | None]]
) -> None:
    person, store = make_person("ada"), QuotaStore(server.url)
    entitle(person.tenant.id, spend_nano=10**6)
    with tenant_scope(person.tenant.id):
        spend_limit_set(monthly_nano=cap * PRICE)
    spent = 0
    for tokens, used in calls:
        try:
            spent += run(person, store, tokens=tokens, used=used)
        except CallRefused:
            assert spent + tokens * PRICE > cap * PRICE, "only a call that could pass the limit is refused"
        except RuntimeError:
            assert used is None
        assert spent <= cap * PRICE
    assert spent == sum(event.cost_nano for event in events(person))
    assert list(findings([uuid.UUID(str(person.tenant.id))])) == []
    store.close()
