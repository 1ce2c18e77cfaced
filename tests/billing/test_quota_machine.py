"""Whatever happens in whatever order, no more is admitted than was leased, sums are exact, and nothing leaks."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from billing.quotas.limits import CompiledLimits, Limit
from billing.quotas.store import QuotaStore
from tests.billing.quota_server import QuotaServer, quota_server

FAR_MS = 4_000_000_000_000
DAY_MS = 86_400_000
TOKEN_CAP = 100_000


class QuotaMachine(RuleBasedStateMachine):
    """Plays the gateways (reserve, extend, settle, release, crash), the lease keeper and an unreliable server.

    The model keeps what Postgres would: the cap, and how much of it was ever debited for leases.
    """

    server: QuotaServer
    reservations = Bundle("reservations")

    @initialize(cap=st.integers(0, 3000))
    def begin(self, cap: int) -> None:
        self.store = QuotaStore(self.server.url)
        self.tenant = uuid.uuid4().hex
        self.cap = cap
        self.limits = CompiledLimits(
            self.tenant,
            [
                Limit("tenant", self.tenant, "spend", cap),
                Limit("tenant", self.tenant, "tokens", TOKEN_CAP, DAY_MS),
                Limit("key", "k", "requests", 10_000, DAY_MS),
                Limit("tenant", self.tenant, "concurrency", 1000),
            ],
        )
        self.lease = self.limits.limits[self.limits.indices("spend")[0]].name
        self.leased = 0  # debited in "Postgres", never credited back in this model except by drain
        self.epoch, self.block, self.granted = 0, 0, 0  # granted: in the live epoch
        self.number = 0
        self.held: dict[str, tuple[int, int, int]] = {}  # id -> nano, tokens, epoch
        self.used: dict[int, int] = {}  # epoch -> settled nano
        self.admitted = 0  # nano admitted and not given back, over all epochs

    @rule(nano=st.integers(1, 800))
    def keeper_leases_a_block(self, nano: int) -> None:
        nano = min(nano, self.cap - self.leased)
        if nano <= 0:
            return
        self.leased += nano
        state, _ = self.store.lease_state(self.tenant, self.lease)
        if state is None or not state.alive:
            self.epoch, self.block, self.granted = self.epoch + 1, 0, 0
        self.block += 1
        taken, _ = self.store.grant(
            self.tenant, self.lease, epoch=self.epoch, block=self.block, nano=nano, ends_ms=FAR_MS, low_nano=10
        )
        assert taken
        self.granted += nano

    @rule()
    def keeper_sends_an_old_block_again(self) -> None:
        if self.block:
            taken, _ = self.store.grant(
                self.tenant, self.lease, epoch=self.epoch, block=self.block, nano=500, ends_ms=FAR_MS, low_nano=10
            )
            assert not taken

    @rule(at_most=st.integers(0, 500))
    def keeper_drains(self, at_most: int) -> None:
        taken = self.store.drain(self.tenant, self.lease, epoch=self.epoch, at_most=at_most)
        if taken is not None:
            self.leased -= taken
            self.granted -= taken

    @rule(target=reservations, nano=st.integers(0, 400), tokens=st.integers(0, 400), short=st.booleans())
    def reserve(self, nano: int, tokens: int, short: bool) -> object:
        self.number += 1
        rid = f"r{self.number}"
        before = self.tokens_left()
        decision = self.store.reserve(self.limits, rid, tokens=tokens, nano=nano, life_ms=0 if short else DAY_MS)
        if not decision.allowed:
            assert abs(self.tokens_left() - before) <= 2, "a denied call burned tokens"
            return multiple()
        self.held[rid] = (nano, tokens, self.epoch)
        self.admitted += nano
        return rid

    @rule(rid=reservations, nano=st.integers(0, 200), tokens=st.integers(0, 200))
    def extend(self, rid: str, nano: int, tokens: int) -> None:
        if self.store.extend(self.tenant, rid, nano=nano, tokens=tokens, life_ms=0).allowed:
            held_nano, held_tokens, epoch = self.held[rid]
            self.held[rid] = (held_nano + nano, held_tokens + tokens, epoch)
            self.admitted += nano

    @rule(rid=reservations, share=st.integers(0, 150))
    def settle(self, rid: str, share: int) -> None:
        nano, tokens, _ = self.held.get(rid, (100, 100, 0))
        settled = self.store.settle(self.tenant, rid, tokens=tokens * share // 100, nano=nano * share // 100)
        if settled.known:
            self._close(rid, settled.nano)
            assert settled.nano == min(nano, nano * share // 100)

    @rule(rid=consumes(reservations))
    def release(self, rid: str) -> None:
        if self.store.release(self.tenant, rid).known:
            self._close(rid, 0)

    @rule()
    def sweep(self) -> None:
        for due in self.store.due(self.tenant, 1000):
            settled = self.store.expire(self.tenant, due.reservation_id)
            assert settled.known
            assert settled.nano == self.held[due.reservation_id][0]
            self._close(due.reservation_id, settled.nano)
        assert self.store.due(self.tenant) == []

    @rule()
    def server_forgets_everything(self) -> None:
        self.server.command("FLUSHALL")
        self.held.clear()
        self.block = 0  # the keeper opens a new epoch; what was granted stays debited

    @rule()
    def server_forgets_its_scripts(self) -> None:
        self.server.command("SCRIPT", "FLUSH")

    def _close(self, rid: str, charged: int) -> None:
        nano, _, epoch = self.held.pop(rid)
        self.admitted -= nano - charged
        self.used[epoch] = self.used.get(epoch, 0) + charged

    def tokens_left(self) -> int:
        indices = self.limits.indices("tokens")
        probe = self.store.reserve(self.limits, f"probe{self.number}", requests=0)
        self.store.release(self.tenant, f"probe{self.number}")
        return probe.remaining[indices[0]]

    @invariant()
    def never_more_than_the_cap(self) -> None:
        if not hasattr(self, "cap"):
            return
        assert self.leased <= self.cap
        assert self.admitted <= self.cap, "admitted beyond the cap"

    @invariant()
    def the_server_agrees_to_the_nano(self) -> None:
        if not hasattr(self, "cap"):
            return
        state, _ = self.store.lease_state(self.tenant, self.lease)
        if state is None or state.epoch != self.epoch:
            return
        held = sum(nano for nano, _, epoch in self.held.values() if epoch == self.epoch)
        assert state.held == held
        assert state.used == self.used.get(self.epoch, 0)
        assert state.granted == self.granted
        assert state.used + state.held + state.available == state.granted
        assert state.available >= 0

    def teardown(self) -> None:
        if not hasattr(self, "cap"):
            return
        for rid in list(self.held):
            self.store.release(self.tenant, rid)
        for name in ("records", "deadlines"):
            assert not self.server.command("EXISTS", f"q:{{{self.tenant}}}:{name}"), f"{name} leaked"
        state, _ = self.store.lease_state(self.tenant, self.lease)
        assert state is None or state.held == 0
        self.store.close()


@pytest.mark.slow
def test_no_order_of_events_admits_too_much_or_leaks() -> None:
    with quota_server() as server:
        QuotaMachine.server = server
        run_state_machine_as_test(
            QuotaMachine,
            settings=settings(
                max_examples=60,
                stateful_step_count=40,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
        assert not server.command("KEYS", "q:*:deadlines"), "a reservation outlived its machine"
