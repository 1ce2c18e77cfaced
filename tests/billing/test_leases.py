"""Blocks are debited before they are spendable; whatever fails, no more than the cap is ever admitted."""

from __future__ import annotations

import contextlib
import datetime as dt
import threading
import time
import uuid

import pytest
from django.db import connections
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.models import Budget, BudgetLease, UsageDispute
from billing.periods import from_ms
from billing.quotas import CompiledLimits, Limit, QuotaStore, QuotaUnavailable
from billing.selectors.invariants import findings
from billing.services import leases
from billing.services.leases import lease_recall, lease_reconcile, lease_refill, lease_refill_all, lease_return
from billing.services.reservations import disputes_close, reservations_sweep
from billing.services.stores import store_begin
from kit.clock import now
from tenants.scope import tenant_scope
from tests.billing.money import call, entitle, store_events
from tests.billing.quota_server import QuotaServer
from tests.conftest import Cast, make_person

CAP = 200_000
BLOCK = CAP // 100


def refill(store: QuotaStore, tenant_id: uuid.UUID, wanted: int = 0) -> bool:
    return lease_refill(
        store=store, tenant_id=tenant_id, scope="tenant", scope_id=tenant_id.hex, name="t:s", wanted=wanted
    )


def promised(tenant_id: uuid.UUID) -> int:
    with tenant_scope(tenant_id):
        return sum(
            lease.spent_nano if lease.state == BudgetLease.State.RECONCILED else lease.granted_nano
            for lease in BudgetLease.objects.all()
        )


def spend_all(store: QuotaStore, limits: CompiledLimits, tenant_id: uuid.UUID, one: int) -> int:
    """Call until money is refused for good; how much was admitted."""
    admitted = 0
    while True:
        decision = store.reserve(limits, uuid.uuid4().hex, nano=one)
        if decision.allowed:
            admitted += one
        elif decision.reason == "rate":  # rates begin empty where they were lost
            time.sleep((decision.wait_ms or 0) / 1000)
        elif not refill(store, tenant_id, 8 * one):
            return admitted


def test_a_block_is_a_hundredth_of_the_cap_and_refills_run_to_the_cap(store: QuotaStore, cast: Cast) -> None:
    tenant_id = cast.owner.tenant.id
    limits = entitle(tenant_id, spend_nano=CAP)
    assert refill(store, tenant_id)
    assert promised(tenant_id) == BLOCK
    assert refill(store, tenant_id) and promised(tenant_id) == BLOCK, "a full lease is not refilled"
    assert spend_all(store, limits, tenant_id, 700) == CAP // 700 * 700
    assert promised(tenant_id) == CAP


def test_one_call_dearer_than_a_block_gets_a_larger_one(store: QuotaStore, cast: Cast) -> None:
    tenant_id = cast.owner.tenant.id
    limits = entitle(tenant_id, spend_nano=CAP)
    assert refill(store, tenant_id, 120_000)
    assert store.reserve(limits, "r", nano=120_000).allowed
    assert not refill(store, tenant_id, 120_000)


def test_after_a_flush_the_lost_lease_counts_in_full(server: QuotaServer, store: QuotaStore, cast: Cast) -> None:
    tenant_id = cast.owner.tenant.id
    limits = entitle(tenant_id, spend_nano=CAP)
    refill(store, tenant_id, 20_000)
    assert store.reserve(limits, "r", nano=20_000).allowed
    lost = promised(tenant_id)
    server.command("FLUSHALL")
    assert spend_all(store, limits, tenant_id, 1000) == (CAP - lost) // 1000 * 1000
    with tenant_scope(tenant_id):
        states = list(BudgetLease.objects.order_by("epoch").values_list("state", flat=True))
    assert states == ["closed", "open"]


def test_a_closed_lease_is_reconciled_to_what_its_calls_cost(
    server: QuotaServer, store: QuotaStore, cast: Cast
) -> None:
    tenant_id = cast.owner.tenant.id
    limits = entitle(tenant_id, spend_nano=CAP)
    refill(store, tenant_id, 20_000)
    first = store.reserve(limits, "r", nano=4_000)
    store_events([call(tenant_id, 1, cost=3_000, at=from_ms(first.now_ms))])
    server.command("FLUSHALL")
    refill(store, tenant_id)
    second = store.reserve(limits, "r2", nano=100)
    store_events([call(tenant_id, 2, cost=100, at=from_ms(second.now_ms))])
    assert lease_reconcile() == 0 or promised(tenant_id) > 40_000, "not before a day has passed"
    lease_reconcile(quiet=dt.timedelta(seconds=-5))
    assert promised(tenant_id) == 3_000 + BLOCK


def test_a_lost_answer_leaves_the_block_promised(
    store: QuotaStore, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant_id = cast.owner.tenant.id
    limits = entitle(tenant_id, spend_nano=CAP)

    def lost(*args: object, **kwargs: object) -> tuple[bool, int]:
        raise QuotaUnavailable("lost")

    with monkeypatch.context() as patched:
        patched.setattr(QuotaStore, "grant", lost)
        with pytest.raises(QuotaUnavailable):
            refill(store, tenant_id)
    assert promised(tenant_id) == BLOCK
    assert spend_all(store, limits, tenant_id, 1000) == CAP - BLOCK


def test_a_refused_block_is_not_promised(store: QuotaStore, cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    tenant_id = cast.owner.tenant.id
    entitle(tenant_id, spend_nano=CAP)
    with monkeypatch.context() as patched:
        patched.setattr(QuotaStore, "grant", lambda *a, **k: (False, 0))
        assert not refill(store, tenant_id)
    assert promised(tenant_id) == 0
    assert refill(store, tenant_id)


def test_unspent_money_comes_back_for_others(store: QuotaStore, cast: Cast) -> None:
    tenant_id = cast.owner.tenant.id
    limits = entitle(tenant_id, spend_nano=CAP)
    refill(store, tenant_id)
    store.reserve(limits, "r", nano=1_000)
    assert lease_return(store=store, tenant_id=tenant_id, name="t:s", at_most=10**9) == BLOCK - 1_000
    assert promised(tenant_id) == 1_000


@pytest.mark.slow
def test_keepers_at_work_at_the_same_time_never_promise_more_than_the_cap(
    server: QuotaServer, store: QuotaStore, cast: Cast
) -> None:
    tenant_id = cast.owner.tenant.id
    limits = entitle(tenant_id, spend_nano=CAP)
    admitted: list[int] = []

    def work() -> None:
        own = QuotaStore(server.url, timeout=10)
        admitted.append(spend_all(own, limits, tenant_id, 900))
        own.close()
        connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert promised(tenant_id) <= CAP
    assert CAP - 4 * 1_000 <= sum(admitted) <= CAP
    with tenant_scope(tenant_id):
        assert BudgetLease.objects.count() == 1, "keepers that open the first lease at once share it"


def test_a_keeper_that_died_while_sending_holds_nobody_up_for_long(store: QuotaStore, cast: Cast) -> None:
    tenant_id = cast.owner.tenant.id
    limits = entitle(tenant_id, spend_nano=CAP)
    refill(store, tenant_id)
    with tenant_scope(tenant_id):
        Budget.objects.update(sending_until=now() + dt.timedelta(milliseconds=200))
    assert spend_all(store, limits, tenant_id, 1_000) == CAP


def test_a_changed_limit_leaves_no_large_block_to_lose(server: QuotaServer, store: QuotaStore, cast: Cast) -> None:
    tenant_id = cast.owner.tenant.id
    entitle(tenant_id, spend_nano=100 * CAP)
    refill(store, tenant_id)
    limits = entitle(tenant_id, spend_nano=CAP)
    assert lease_recall(store=store, tenant_id=tenant_id, name="t:s") == CAP
    refill(store, tenant_id)
    server.command("FLUSHALL")
    assert spend_all(store, limits, tenant_id, 1_000) == CAP - BLOCK


def test_a_refill_inside_a_transaction_is_a_bug(store: QuotaStore, cast: Cast) -> None:
    with tenant_scope(cast.owner.tenant.id), pytest.raises(RuntimeError, match="commit"):
        refill(store, cast.owner.tenant.id)


def test_a_new_month_closes_the_old_lease(store: QuotaStore, cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    tenant_id = cast.owner.tenant.id
    entitle(tenant_id, spend_nano=CAP)
    refill(store, tenant_id)
    monkeypatch.setattr(leases, "from_ms", lambda ms: from_ms(ms) + dt.timedelta(days=40))
    assert refill(store, tenant_id)
    with tenant_scope(tenant_id):
        old, new = BudgetLease.objects.order_by("epoch")
    assert (old.state, new.state) == ("closed", "open")
    assert new.period > old.period


def test_the_scheduled_net_refills_what_runs_low(store: QuotaStore, cast: Cast) -> None:
    tenant_id = cast.owner.tenant.id
    limits = entitle(tenant_id, spend_nano=CAP)
    refill(store, tenant_id)
    assert store.reserve(limits, "r", nano=1_800).low
    lease_refill_all(store=store)
    assert store.reserve(limits, "r2", nano=1_800).allowed


def test_a_keys_own_budget_is_leased_beside_the_tenants(store: QuotaStore, cast: Cast) -> None:
    person = cast.owner
    tenant_id, key_id = person.tenant.id, person.key_row.id
    entitle(tenant_id, spend_nano=CAP)
    with tenant_scope(tenant_id):
        person.key_row.limits = {"monthly_spend_nano": 2_000}
        person.key_row.save()
    key_limit = Limit("key", key_id.hex, "spend", 2_000)
    limits = CompiledLimits(tenant_id, [Limit("tenant", tenant_id.hex, "spend", CAP), key_limit])
    refill(store, tenant_id, 10_000)
    assert store.reserve(limits, "r", nano=100).reason == "lease"
    lease_refill(store=store, tenant_id=tenant_id, scope="key", scope_id=key_id.hex, name=key_limit.name, wanted=2_000)
    assert store.reserve(limits, "r", nano=2_000).allowed
    denied = store.reserve(limits, "r2", nano=100)
    assert denied.limit is not None and denied.limit.scope == "key"


@pytest.mark.slow
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("call"), st.integers(1, 9_000)),
            st.tuples(st.sampled_from(["refill", "flush", "sweep", "lose", "return", "recall"]), st.just(0)),
        ),
        max_size=40,
    ),
    cap=st.integers(0, 40_000),
)
def test_no_failure_admits_more_than_the_cap(server: QuotaServer, steps: list[tuple[str, int]], cap: int) -> None:
    tenant_id = make_person("lease").tenant.id
    store = QuotaStore(server.url)
    limits = entitle(tenant_id, spend_nano=cap)
    admitted = 0
    for number, (step, nano) in enumerate(steps):
        if step == "call":
            nano = nano // 20 * 20
            decision = store.reserve(limits, f"c{number}", nano=nano, life_ms=60_000 if number % 2 else 0)
            if decision.allowed:
                admitted += nano
                if number % 3:
                    store_events([call(tenant_id, number, cost=nano, at=from_ms(decision.now_ms))])
                    store.settle(tenant_id, f"c{number}", tokens=0, nano=nano)
            else:
                refill(store, tenant_id, nano)
        elif step == "refill":
            refill(store, tenant_id, 1)
        elif step == "flush":
            server.command("FLUSHALL")
        elif step == "sweep":
            reservations_sweep(store=store)
        elif step == "return":
            lease_return(store=store, tenant_id=tenant_id, name="t:s", at_most=500)
        elif step == "recall":
            lease_recall(store=store, tenant_id=tenant_id, name="t:s")
        elif step == "lose":
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(QuotaStore, "grant", _lost)
                with contextlib.suppress(QuotaUnavailable):
                    refill(store, tenant_id, 1)
        assert admitted <= cap
        assert promised(tenant_id) <= cap
    store.close()


def _lost(*args: object, **kwargs: object) -> tuple[bool, int]:
    raise QuotaUnavailable("lost")


def test_a_call_that_ended_is_settled_by_its_event_and_a_vanished_one_is_disputed(
    store: QuotaStore, cast: Cast
) -> None:
    tenant_id = cast.owner.tenant.id
    limits = entitle(tenant_id, spend_nano=CAP)
    refill(store, tenant_id, 20_000)
    done = store.reserve(limits, "req_1", nano=5_000, tokens=250, life_ms=0)
    store.reserve(limits, "req_2", nano=7_000, tokens=350, life_ms=0)
    store_events([call(tenant_id, 1, cost=2_000, at=from_ms(done.now_ms))])
    reservations_sweep(store=store)
    state, _ = store.lease_state(tenant_id, "t:s")
    assert state is not None and (state.used, state.held) == (2_000 + 7_000, 0)
    with tenant_scope(tenant_id):
        dispute = UsageDispute.objects.get()
        assert (dispute.request_id, dispute.nano, dispute.state) == ("req_2", 7_000, "open")
    reservations_sweep(store=store)
    store_events([call(tenant_id, 2, cost=3_000, at=now())])
    disputes_close()
    with tenant_scope(tenant_id):
        assert UsageDispute.objects.get().state == "disproved"


def test_calls_beyond_the_running_lease_are_found_at_once(store: QuotaStore, cast: Cast) -> None:
    tenant_id = cast.owner.tenant.id
    limits = entitle(tenant_id, spend_nano=CAP)
    refill(store, tenant_id, 20_000)
    granted = promised(tenant_id)
    made = store.reserve(limits, "req_1", nano=granted, life_ms=60_000)
    store_events([call(tenant_id, 1, cost=granted, at=from_ms(made.now_ms))])
    assert [one.check for one in findings([tenant_id])] == []
    store_events([call(tenant_id, 2, cost=20, at=from_ms(made.now_ms))])
    (found,) = findings([tenant_id])
    assert found.check == "leases_cover_calls" and f"a grant of {granted} so far" in found.message


def test_an_installation_that_metered_calls_is_not_taken_for_a_new_one(
    server: QuotaServer, store: QuotaStore, cast: Cast
) -> None:
    tenant_id = cast.owner.tenant.id
    limits = entitle(tenant_id, spend_nano=CAP)
    store_events([call(tenant_id, 1, cost=20, at=now())])
    assert min(store.peek(limits)[:2]) > 0
    server.command("FLUSHALL")
    assert not store_begin(store)
    assert store.peek(limits)[0] == 0, "nobody knows what was admitted a moment ago"
