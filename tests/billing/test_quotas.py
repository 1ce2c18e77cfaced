"""Quota verbs against a real server: each limit kind, each denial, each failure of the server."""

from __future__ import annotations

import threading
import time
import uuid

import pytest

from billing.quotas.decision import duration, rate_headers
from billing.quotas.denial import denial
from billing.quotas.errors import LimitError, QuotaUnavailable
from billing.quotas.limits import CompiledLimits, Limit
from billing.quotas.store import QuotaStore
from tests.billing.quota_server import QuotaServer, quota_server

FAR_MS = 4_000_000_000_000
HOUR_MS = 3_600_000
SOON_MS = 600
"""The end of what a test waits for; a busy machine does what comes before it in time as well."""


@pytest.fixture
def tenant() -> str:
    return uuid.uuid4().hex


def rates(tenant: str, *, requests: int = 10, tokens: int = 1000) -> CompiledLimits:
    # An hour's window, so that a slow test run does not refill the bucket under the assertion.
    return CompiledLimits(
        tenant,
        [
            Limit("tenant", tenant, "requests", requests, HOUR_MS),
            Limit("tenant", tenant, "tokens", tokens, HOUR_MS),
        ],
    )


def spend(tenant: str, cap: int = 1000) -> CompiledLimits:
    return CompiledLimits(tenant, [Limit("tenant", tenant, "spend", cap)])


def lease(store: QuotaStore, limits: CompiledLimits, nano: int, *, epoch: int = 1, block: int = 1) -> bool:
    name = limits.limits[limits.indices("spend")[0]].name
    return store.grant(limits.tenant, name, epoch=epoch, block=block, nano=nano, ends_ms=FAR_MS, low_nano=nano // 4)[0]


def test_a_call_within_all_limits_is_admitted_and_told_what_remains(store: QuotaStore, tenant: str) -> None:
    decision = store.reserve(rates(tenant), "r1", tokens=300)
    assert decision.allowed
    assert decision.remaining == [9, 700]
    assert dict(rate_headers(decision))[b"x-ratelimit-remaining-tokens"] == b"700"


def test_a_denied_call_burns_nothing_of_any_limit(store: QuotaStore, tenant: str) -> None:
    limits = rates(tenant, tokens=500)
    store.reserve(limits, "r1", tokens=400)
    denied = store.reserve(limits, "r2", tokens=200)
    assert not denied.allowed
    assert denied.limit is not None and denied.limit.kind == "tokens"
    assert denied.remaining == [9, 100]
    assert store.reserve(limits, "r3", tokens=100).remaining == [8, 0]


def test_the_wait_is_what_the_bucket_needs_to_refill(store: QuotaStore, tenant: str) -> None:
    limits = CompiledLimits(tenant, [Limit("key", "k", "requests", 60, 60_000)])
    for n in range(60):
        assert store.reserve(limits, f"r{n}").allowed
    for n in range(60, 70):  # one a second refills meanwhile
        denied = store.reserve(limits, f"r{n}")
        if not denied.allowed:
            break
    assert not denied.allowed
    assert 0 < denied.wait_ms <= 1000
    time.sleep(denied.wait_ms / 1000 + 0.005)
    assert store.reserve(limits, "later").allowed


def test_a_request_larger_than_the_limit_itself_is_told_so_and_not_to_retry(store: QuotaStore, tenant: str) -> None:
    denied = store.reserve(rates(tenant, tokens=100), "r1", tokens=101)
    assert denied.reason == "too_large"
    refusal = denial(denied)
    assert refusal.status == 429
    assert (b"x-should-retry", b"false") in refusal.headers


def test_settling_returns_the_difference_once(store: QuotaStore, tenant: str) -> None:
    limits = rates(tenant)
    store.reserve(limits, "r1", tokens=600)
    assert store.settle(tenant, "r1", tokens=100, nano=0).known
    assert not store.settle(tenant, "r1", tokens=0, nano=0).known
    assert store.reserve(limits, "r2", tokens=0).remaining == [8, 900]


def test_a_release_gives_the_request_back_too(store: QuotaStore, tenant: str) -> None:
    limits = rates(tenant)
    store.reserve(limits, "r1", tokens=600)
    store.release(tenant, "r1")
    assert store.reserve(limits, "r2", tokens=0).remaining == [9, 1000]


def test_reserving_one_id_twice_charges_once(store: QuotaStore, tenant: str) -> None:
    limits = rates(tenant)
    store.reserve(limits, "r1", tokens=600)
    assert store.reserve(limits, "r1", tokens=600).replayed
    assert store.reserve(limits, "r2", tokens=0).remaining == [8, 400]


def test_more_tokens_than_reserved_put_the_bucket_into_debt(store: QuotaStore, tenant: str) -> None:
    limits = rates(tenant)
    store.reserve(limits, "r1", tokens=900)
    store.settle(tenant, "r1", tokens=1500, nano=0)
    denied = store.reserve(limits, "r2", tokens=1)
    assert not denied.allowed
    assert denied.wait_ms > HOUR_MS // 3


def test_concurrency_counts_live_reservations_and_heals_after_their_deadline(store: QuotaStore, tenant: str) -> None:
    limits = CompiledLimits(tenant, [Limit("tenant", tenant, "concurrency", 2)])
    store.reserve(limits, "r1", life_ms=SOON_MS)
    store.reserve(limits, "r2")
    denied = store.reserve(limits, "r3")
    assert denied.reason == "concurrency"
    assert denial(denied).status == 429
    time.sleep(SOON_MS / 1000 + 0.02)
    assert store.reserve(limits, "r3").allowed
    store.settle(tenant, "r2", tokens=0, nano=0)
    assert store.reserve(limits, "r4").allowed
    assert not store.reserve(limits, "r5").allowed


def test_money_without_a_lease_is_closed_and_free_calls_pass(store: QuotaStore, tenant: str) -> None:
    limits = spend(tenant)
    denied = store.reserve(limits, "r1", nano=1)
    assert denied.reason == "lease"
    assert denied.low == limits.limits
    assert denial(denied).status == 402
    assert store.reserve(limits, "r2", nano=0).allowed


def test_a_lease_is_spent_to_the_last_nano_and_no_further(store: QuotaStore, tenant: str) -> None:
    limits = spend(tenant)
    assert lease(store, limits, 1000)
    assert store.reserve(limits, "r1", nano=999).allowed
    assert store.reserve(limits, "r2", nano=2).reason == "spend"
    last = store.reserve(limits, "r3", nano=1)
    assert last.allowed and last.remaining == [0] and last.low == limits.limits
    store.settle(tenant, "r1", tokens=0, nano=5000)
    state, _ = store.lease_state(tenant, limits.limits[0].name)
    assert state is not None
    assert (state.used, state.held, state.available) == (999, 1, 0)


def test_a_block_is_taken_once_and_an_old_epoch_is_refused(store: QuotaStore, tenant: str) -> None:
    limits = spend(tenant)
    assert not lease(store, limits, 100, epoch=1, block=2), "a later block cannot open an epoch"
    assert lease(store, limits, 100)
    assert not lease(store, limits, 100), "the opening block came twice"
    assert lease(store, limits, 50, block=2)
    assert not lease(store, limits, 50, block=2)
    assert lease(store, limits, 10, epoch=2)
    assert not lease(store, limits, 100, epoch=1, block=3)
    state, _ = store.lease_state(tenant, limits.limits[0].name)
    assert state is not None and (state.epoch, state.granted) == (2, 10)


def test_a_reservation_of_an_older_epoch_leaves_the_new_lease_alone(store: QuotaStore, tenant: str) -> None:
    limits = spend(tenant)
    lease(store, limits, 100)
    store.reserve(limits, "r1", nano=80)
    lease(store, limits, 30, epoch=2)
    assert not store.extend(tenant, "r1", nano=1).allowed
    assert store.settle(tenant, "r1", tokens=0, nano=10).known
    state, _ = store.lease_state(tenant, limits.limits[0].name)
    assert state is not None and (state.available, state.used, state.held) == (30, 0, 0)


def test_a_drain_takes_only_what_nobody_holds(store: QuotaStore, tenant: str) -> None:
    limits = spend(tenant)
    lease(store, limits, 100)
    store.reserve(limits, "r1", nano=30)
    name = limits.limits[0].name
    assert store.drain(tenant, name, epoch=1, at_most=50) == 50
    assert store.drain(tenant, name, epoch=1, at_most=50) == 20
    assert store.drain(tenant, name, epoch=2, at_most=50) is None
    store.release(tenant, "r1")
    assert store.reserve(limits, "r2", nano=30).allowed


def test_a_past_period_is_closed(store: QuotaStore, tenant: str) -> None:
    limits = spend(tenant)
    name = limits.limits[0].name
    _, now = store.lease_state(tenant, name)
    store.grant(tenant, name, epoch=1, block=1, nano=100, ends_ms=now + SOON_MS, low_nano=0)
    assert store.reserve(limits, "r1", nano=1).allowed
    time.sleep(SOON_MS / 1000 + 0.02)
    assert store.reserve(limits, "r2", nano=1).reason == "lease"


def test_an_extension_is_all_or_nothing(store: QuotaStore, tenant: str) -> None:
    limits = CompiledLimits(
        tenant, [Limit("tenant", tenant, "tokens", 100, HOUR_MS), Limit("tenant", tenant, "spend", 100)]
    )
    lease(store, limits, 100)
    store.reserve(limits, "r1", tokens=50, nano=50)
    assert store.extend(tenant, "r1", tokens=40, nano=40).allowed
    assert not store.extend(tenant, "r1", tokens=5, nano=20).allowed
    assert not store.extend(tenant, "r1", tokens=20, nano=5).allowed
    assert not store.extend(tenant, "gone", tokens=1).known
    store.settle(tenant, "r1", tokens=90, nano=90)
    assert store.reserve(limits, "r2", tokens=10, nano=10).allowed


def test_the_sweeper_finds_what_is_due_and_expires_it_at_the_reserved_amount(store: QuotaStore, tenant: str) -> None:
    limits = spend(tenant)
    lease(store, limits, 100)
    store.reserve(limits, "r1", nano=40, life_ms=SOON_MS)
    store.reserve(limits, "r2", nano=10)
    assert store.due(tenant) == []
    time.sleep(SOON_MS / 1000 + 0.02)
    due = store.due(tenant)
    assert [(d.reservation_id, d.nano) for d in due] == [("r1", 40)]
    assert tenant in store.tenants()
    assert store.expire(tenant, "r1").nano == 40
    assert not store.expire(tenant, "r2").known, "not due yet"
    state, _ = store.lease_state(tenant, limits.limits[0].name)
    assert state is not None and (state.used, state.held, state.available) == (40, 10, 50)


def test_two_tenants_and_two_keys_do_not_share_counters(store: QuotaStore, tenant: str) -> None:
    other = uuid.uuid4().hex
    limits = CompiledLimits(tenant, [Limit("key", "a", "requests", 1, HOUR_MS)])
    assert store.reserve(limits, "r1").allowed
    assert not store.reserve(limits, "r2").allowed
    assert store.reserve(CompiledLimits(tenant, [Limit("key", "b", "requests", 1, HOUR_MS)]), "r3").allowed
    assert store.reserve(CompiledLimits(other, [Limit("key", "a", "requests", 1, HOUR_MS)]), "r1").allowed


def test_a_cap_of_zero_admits_nothing(store: QuotaStore, tenant: str) -> None:
    limits = CompiledLimits(tenant, [Limit("key", "a", "requests", 0)])
    denied = store.reserve(limits, "r1")
    assert denied.reason == "too_large"
    assert rate_headers(denied)[0] == (b"x-ratelimit-limit-requests", b"0")


@pytest.mark.parametrize("cap", [-1, 10**16])
def test_a_cap_beyond_exact_counting_is_refused(cap: int) -> None:
    with pytest.raises(LimitError):
        Limit("tenant", "t", "tokens", cap)


def test_losing_the_scripts_is_not_noticed_by_callers(server: QuotaServer, store: QuotaStore, tenant: str) -> None:
    limits = spend(tenant)
    lease(store, limits, 100)
    server.command("SCRIPT", "FLUSH")
    assert store.reserve(limits, "r1", nano=60).allowed
    assert not store.reserve(limits, "r2", nano=60).allowed


def test_losing_all_data_closes_money_until_a_new_epoch(server: QuotaServer, store: QuotaStore, tenant: str) -> None:
    limits = spend(tenant)
    lease(store, limits, 100)
    store.reserve(limits, "r1", nano=60)
    server.command("FLUSHALL")
    assert store.reserve(limits, "r2", nano=1).reason == "lease"
    assert not lease(store, limits, 100, block=2), "a block of the lost epoch must not revive it"
    assert not store.settle(tenant, "r1", tokens=0, nano=10).known
    assert lease(store, limits, 40, epoch=2)
    assert store.reserve(limits, "r3", nano=40).allowed


def test_an_old_snapshot_cannot_be_spent_again() -> None:
    with quota_server() as own:
        store, tenant = QuotaStore(own.url), uuid.uuid4().hex
        limits = spend(tenant)
        lease(store, limits, 100)
        own.stop(snapshot=True)
        own.start()
        with pytest.raises(QuotaUnavailable):  # the old line is dead; outcome unknown, so no silent retry
            store.reserve(limits, "r1", nano=1)
        state, _ = store.lease_state(tenant, limits.limits[0].name)
        assert state is not None and state.available == 100 and not state.alive
        assert store.reserve(limits, "r2", nano=1).reason == "lease"
        assert store.drain(tenant, limits.limits[0].name, epoch=1, at_most=100) is None
        assert not lease(store, limits, 10, block=2)
        assert lease(store, limits, 10, epoch=2)
        assert store.reserve(limits, "r3", nano=10).allowed
        store.close()


def refilling(tenant: str) -> CompiledLimits:
    """A bucket whose size is what it refills in a second."""
    return CompiledLimits(tenant, [Limit("tenant", tenant, "requests", 20, 1000)])


def taken(store: QuotaStore, limits: CompiledLimits, name: str, calls: int = 60) -> int:
    return sum(store.reserve(limits, f"{name}{number}").allowed for number in range(calls))


def test_after_a_loss_a_bucket_is_empty_and_refills(tenant: str) -> None:
    with quota_server() as own:
        store, limits = QuotaStore(own.url), refilling(tenant)
        assert taken(store, limits, "before") >= 20, "where nothing was ever admitted it is full"
        own.command("FLUSHALL")
        begun = time.monotonic()
        refused = store.reserve(limits, "at once")
        assert (refused.reason, refused.wait_ms) == ("rate", 50), "one more would be one too many"
        time.sleep(0.3)
        assert 5 <= taken(store, limits, "a little later") <= 20 * (time.monotonic() - begun) + 1, (
            "no more than refilled"
        )
        time.sleep(1.1)
        assert taken(store, CompiledLimits(uuid.uuid4(), limits.limits), "another tenant") >= 20
        store.close()


def test_what_a_snapshot_says_of_a_bucket_is_not_believed(tenant: str) -> None:
    with quota_server() as own:
        store, limits = QuotaStore(own.url), refilling(tenant)
        assert store.reserve(limits, "running", requests=10).allowed
        own.stop(snapshot=True)
        own.start()
        store.close()
        assert store.reserve(limits, "at once").reason == "rate", "what was admitted since the snapshot is not in it"
        assert store.release(tenant, "running").known
        assert store.peek(limits)[0] < 10, "this life of the server took nothing from the bucket for it"
        store.close()


def test_a_dead_server_is_an_error_not_a_decision(tenant: str) -> None:
    store = QuotaStore("unix:///nonexistent/redis.sock")
    with pytest.raises(QuotaUnavailable):
        store.reserve(rates(tenant), "r1")


def test_threads_never_overshoot_and_settle_to_exact_sums(server: QuotaServer, tenant: str) -> None:
    limits = CompiledLimits(
        tenant,
        [
            Limit("tenant", tenant, "spend", 20_000),
            Limit("tenant", tenant, "requests", 100_000),
            Limit("key", "k", "tokens", 1_000_000),
        ],
    )
    store = QuotaStore(server.url, timeout=10)
    lease(store, limits, 20_000)
    spent, lock = [0], threading.Lock()

    def work(seed: int) -> None:
        mine = 0
        for n in range(150):
            reserved = 50 + (seed * 31 + n * 17) % 200
            rid = f"{seed}-{n}"
            if not store.reserve(limits, rid, tokens=1, nano=reserved).allowed:
                continue
            if n % 10 == 3:
                store.release(tenant, rid)
            elif n % 10 != 7:  # every tenth call crashes and never settles
                actual = reserved * 2 // 3
                mine += store.settle(tenant, rid, tokens=1, nano=actual).nano
                store.settle(tenant, rid, tokens=1, nano=actual)
        store.close()
        with lock:
            spent[0] += mine

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    state, _ = store.lease_state(tenant, limits.limits[limits.indices("spend")[0]].name)
    assert state is not None
    assert state.used == spent[0] > 0
    assert state.used + state.held + state.available == state.granted == 20_000
    assert state.available >= 0
    store.close()


@pytest.mark.parametrize(
    ("ms", "text"), [(120, "120ms"), (1000, "1s"), (1001, "2s"), (360_000, "6m0s"), (3_600_000, "1h0m0s")]
)
def test_durations_read_as_the_wire_writes_them(ms: int, text: str) -> None:
    assert duration(ms) == text
