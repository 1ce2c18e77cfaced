"""Calls at once stay within their limit when the quota server loses what it knew: those who run calls tell it again."""

from __future__ import annotations

import asyncio
import random
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from billing.prices import price_books
from billing.quotas import CompiledLimits, Limit, QuotaGate, QuotaStore, QuotaUnavailable, Ticket, denial
from billing.quotas.recount import Recount
from billing.quotas.scripts import HOLD_MS
from tests.billing.quota_server import QuotaServer, quota_server

CAP = 6
SECONDS = 16.0
LOSSES = (2.0, 3.1, 8.5)
"""When everything is lost: the second time while the first is still being recounted."""


@pytest.fixture
def tenant() -> str:
    return uuid.uuid4().hex


def limited(tenant: str, cap: int = CAP) -> CompiledLimits:
    return CompiledLimits(
        tenant, [Limit("tenant", tenant, "requests", 10_000), Limit("project", "p", "concurrency", cap)]
    )


class Running:
    """How many calls really run, whatever anybody counts."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.now = self.most = 0
        self.admitted: list[float] = []

    @contextmanager
    def one(self) -> Iterator[None]:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
            self.admitted.append(time.monotonic())
        try:
            yield
        finally:
            with self._lock:
                self.now -= 1


def deadline(own: QuotaServer, tenant: str, call: str) -> float:
    """When a call stops to count, in ms of the server's clock."""
    score = own.command("ZSCORE", f"q:{{{tenant}}}:deadlines", call)
    assert isinstance(score, bytes)
    return float(score)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["emptied", "killed", "back from an old copy"])
def test_no_more_calls_run_at_once_than_the_limit_whatever_the_server_forgets(tenant: str, how: str) -> None:
    """Two gateways and a web process press as hard as they can; a third of the calls outlive the hold by far."""
    dice, running, ended = random.Random(4), Running(), threading.Event()
    limits = limited(tenant)

    def lasting() -> float:
        return dice.choice((0.01, 0.2, HOLD_MS / 1000 * 2))

    async def caller(gate: QuotaGate, name: str) -> None:
        number = 0
        while not ended.is_set():
            number += 1
            ticket = await gate.admit(
                limits, f"{name}-{number}", kind="classify", model="m", project_id=uuid.uuid4(), key_id=None, tokens=1
            )
            if ticket.denial is not None:
                await asyncio.sleep(0.02)
            elif ticket.decision is not None and ticket.decision.local:
                gate.release(ticket)  # while the server is away nobody counts calls at once
                await asyncio.sleep(0.02)
            else:
                with running.one():
                    await asyncio.sleep(lasting())
                gate.settle(ticket, input_tokens=1)

    async def gateway(number: int, url: str) -> None:
        gate = QuotaGate(url, spool=None, prices=price_books())
        recount = Recount(QuotaStore(url), gate.store.running).start()
        await asyncio.gather(*(caller(gate, f"g{number}-{n}") for n in range(CAP)))
        gate.close()
        recount.close()

    def page(store: QuotaStore, name: str) -> None:
        number = 0
        while not ended.is_set():
            number += 1
            with suppress(QuotaUnavailable):
                if store.reserve(limits, f"{name}-{number}", tokens=1).allowed:
                    with running.one():
                        time.sleep(lasting())
                    for _ in range(2):  # a line that broke is opened again by the second
                        with suppress(QuotaUnavailable):
                            store.settle(tenant, f"{name}-{number}", tokens=1, nano=0)
                            break
            time.sleep(0.02)
        store.close()

    with quota_server() as own:
        web = QuotaStore(own.url)
        recount = Recount(web, web.running).start()
        gateways = [(asyncio.run, (gateway(number, own.url),)) for number in range(2)]
        work = [threading.Thread(target=run, args=args, daemon=True) for run, args in gateways]
        work += [threading.Thread(target=page, args=(web, f"w{number}"), daemon=True) for number in range(2)]
        begun = time.monotonic()
        for thread in work:
            thread.start()
        try:
            for loss in LOSSES:
                time.sleep(max(0.0, begun + loss - time.monotonic()))
                lose(own, how)
            time.sleep(max(0.0, begun + SECONDS - time.monotonic()))
        finally:
            ended.set()
            for thread in work:
                thread.join(timeout=30)
        recount.close()
        assert running.most == CAP, "the limit was reached, and never passed"
        assert any(at > begun + LOSSES[-1] + HOLD_MS / 1000 for at in running.admitted), "it opened again"
        store = QuotaStore(own.url)
        assert store.peek(limits)[1] == CAP, "nothing is counted that has ended"
        store.close()


def lose(own: QuotaServer, how: str) -> None:
    if how == "emptied":
        own.command("FLUSHALL")
        return
    own.stop()  # its folder holds what was saved last: nothing at first
    own.start()
    if how != "killed":
        own.command("SAVE")


def test_a_server_that_lost_what_it_knew_says_for_how_long_it_counts_anew(tenant: str) -> None:
    with quota_server() as own:
        store, limits = QuotaStore(own.url), limited(tenant)
        assert store.reserve(limits, "before").allowed
        own.command("FLUSHALL")
        store.life()
        time.sleep(0.1)  # a few requests refill
        refused = store.reserve(limits, "after")
        assert (refused.reason, refused.remaining[1]) == ("concurrency", 0)
        assert HOLD_MS - 1000 < refused.wait_ms < HOLD_MS
        said = denial(refused)
        assert (said.status, said.code) == (429, "rate_limit_exceeded")
        assert "being counted anew. Retry in 3s." in said.message
        assert dict(said.headers)[b"retry-after"] == b"3"
        store.close()


def test_a_call_that_was_told_again_counts_until_it_ends_and_costs_nothing_twice(tenant: str) -> None:
    with quota_server() as own:
        store, limits = QuotaStore(own.url), limited(tenant)
        before = store.reserve(limits, "before", tokens=5)
        own.command("FLUSHALL")
        assert store.declare([before]) == [before]
        assert store.declare([before]) == [], "it knows by now"
        store.begin()
        here = store.reserve(limits, "here")
        assert (here.remaining[1], store.declare([here])) == (CAP - 2, [])
        ends = [deadline(own, tenant, call) for call in ("before", "here")]
        assert 170_000 < ends[0] - ends[1] < 180_001, "it has the longest life that there is; the other the usual one"
        requests = store.peek(limits)[0]
        assert store.settle(tenant, "before", tokens=3, nano=9).nano == 0
        assert store.peek(limits) == [requests, CAP - 1]
        assert store.release(tenant, "here").known
        assert not own.command("KEYS", f"q:{{{tenant}}}:*:*:c"), "nothing is left of either"
        store.close()


def test_a_call_that_was_told_again_is_given_no_more_money_and_no_limit_is_blamed(tenant: str) -> None:
    with quota_server() as own:
        store = QuotaStore(own.url)
        limits = CompiledLimits(
            tenant, [Limit("project", "p", "concurrency", CAP), Limit("tenant", tenant, "spend", 10**12)]
        )
        call = store.reserve(limits, "long")
        own.command("FLUSHALL")
        assert store.declare([call]) == [call]
        asked = store.extend(tenant, "long", output_tokens=5, nano=50)
        assert (asked.allowed, asked.known, asked.place) == (False, False, None)
        assert store.extend(tenant, "long", output_tokens=5).allowed, "what costs nothing goes on"
        assert store.settle(tenant, "long", tokens=0, nano=0).known
        store.close()


def test_a_call_that_ends_while_it_is_told_is_not_counted_for_ever(tenant: str) -> None:
    with quota_server() as own:
        store, limits = QuotaStore(own.url), limited(tenant)

        class Leaving(dict):  # type: ignore[type-arg]
            """What runs; its end is sent between the look and the telling."""

            def copy(self) -> dict:  # type: ignore[type-arg]
                found = super().copy()
                self.clear()
                store.settle(tenant, "before", tokens=0, nano=0)
                return found

        running = Leaving(before=store.reserve(limits, "before"))
        own.command("FLUSHALL")
        Recount(store, running).look()
        store.begin()
        assert store.peek(limits)[1] == CAP
        store.close()


def test_a_call_that_an_old_copy_knows_as_ended_long_ago_counts_again(tenant: str) -> None:
    with quota_server() as own:
        store, limits = QuotaStore(own.url), limited(tenant)
        call = store.reserve(limits, "long", life_ms=0)
        store.extend(tenant, "long", life_ms=0)
        assert store.peek(limits)[1] == CAP
        assert store.declare([call]) == [], "its record is there"
        assert store.peek(limits)[1] == CAP - 1
        assert store.settle(tenant, "long", tokens=0, nano=0).known
        assert store.peek(limits)[1] == CAP
        store.close()


def test_without_a_loss_nothing_is_told_twice_and_nothing_waits(tenant: str) -> None:
    with quota_server() as own:
        store, limits = QuotaStore(own.url), limited(tenant)
        recount = Recount(store, store.running)
        for _ in range(3):
            recount.look()
        decision = store.reserve(limits, "at once")
        assert decision.allowed and store.running == {"at once": decision}
        store.release(tenant, "at once")
        assert store.running == {}
        assert not store.reserve(limited(tenant, 0), "no").allowed and store.running == {}
        store.close()


def gate_of(own: QuotaServer) -> QuotaGate:
    return QuotaGate(own.url, spool=None, prices=price_books(), timeout=0.2)


async def admitted(gate: QuotaGate, limits: CompiledLimits, name: str) -> Ticket:
    ticket = await gate.admit(limits, name, kind="classify", model="m", project_id=uuid.uuid4(), key_id=None, tokens=1)
    assert ticket.denial is None
    return ticket


@pytest.mark.parametrize("how", ["cut off", "killed"])
def test_calls_admitted_while_the_server_was_away_count_as_soon_as_it_is_back(tenant: str, how: str) -> None:
    limits = limited(tenant)

    async def scene(own: QuotaServer, store: QuotaStore) -> None:
        gate = gate_of(own)
        recount = Recount(QuotaStore(own.url, 0.2), gate.store.running)
        recount.look()
        here = await admitted(gate, limits, "here")
        own.stop() if how == "killed" else own.command("CLIENT", "PAUSE", 1_500, "ALL")
        away = [await admitted(gate, limits, name) for name in ("away", "over soon")]
        assert [one.decision is not None and one.decision.local for one in away] == [True, True]
        with pytest.raises(QuotaUnavailable):
            recount.look()
        gate.settle(away.pop(), input_tokens=1)
        if how == "killed":
            own.start()
        await asyncio.sleep(0.1 if how == "killed" else 1.6)
        recount.look()
        if how == "killed":
            store.begin()  # which ends the hold
        assert store.peek(limits)[1] == CAP - 2, "the one from before, and the one that still runs"
        for number in range(50):
            later = await admitted(gate, limits, f"later-{number}")
            if later.decision is not None and not later.decision.local:
                break
            gate.release(later)  # its line is not open again yet
            await asyncio.sleep(0.1)
        # now what is owed for the reserves without an answer has been sent
        await asyncio.sleep(0.1)
        assert store.peek(limits)[1] == CAP - 3
        recount.look()
        for ticket in (here, later, *away):
            gate.settle(ticket, input_tokens=1)
        await asyncio.sleep(0.1)
        assert store.peek(limits)[1] == CAP
        assert gate.store.running == {} and not own.command("KEYS", f"q:{{{tenant}}}:*:*:c")
        gate.close()

    with quota_server() as own:
        store = QuotaStore(own.url)
        asyncio.run(scene(own, store))
        store.close()


def test_a_call_that_was_over_before_the_server_was_back_is_told_to_nobody(tenant: str) -> None:
    limits = limited(tenant)

    async def scene(own: QuotaServer, store: QuotaStore) -> None:
        gate = gate_of(own)
        own.stop()
        calls = [await admitted(gate, limits, name) for name in ("settled", "released")]
        gate.settle(calls[0], input_tokens=1)
        gate.release(calls[1])
        own.start()
        Recount(store, gate.store.running).look()
        store.begin()
        assert store.peek(limits)[1] == CAP
        gate.close()

    with quota_server() as own:
        store = QuotaStore(own.url)
        asyncio.run(scene(own, store))
        store.close()
