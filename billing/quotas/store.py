"""The quota store: one method per verb, blocking (`QuotaStore`) and asyncio (`AsyncQuotaStore`).

A reservation lives: RESERVE -> EXTEND* -> SETTLE | RELEASE | EXPIRE. Each verb is one Lua call. All are safe to
repeat under the same reservation id except `grant`, which must be sent at most once per block.
Everywhere `tokens` are those read and `output_tokens` those written; a `tokens` limit counts their sum.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import threading
from collections.abc import Iterable
from functools import partial
from typing import Any
from uuid import UUID

import hiredis

from billing.quotas.answers import Due, Extended, LeaseState, Settled, parse_extend, parse_settle
from billing.quotas.decision import Decision, parse_reserve
from billing.quotas.errors import QuotaUnavailable
from billing.quotas.limits import CompiledLimits, TenantKeys
from billing.quotas.scripts import run_id_of
from billing.quotas.wire import AsyncLine, SyncLine, bulk

DEFAULT_LIFE_MS = 120_000
LONGEST_LIFE_MS = 300_000
"""Of any reservation. An explanation's: five questions to the engine (three rounds, the vector, the rows), the first of
them maybe after a load, of up to 30 s each, and an engine that is started for it."""
OWED_MOST = 10_000
"""Ends of reservations that a process remembers while the quota server is away."""


@functools.lru_cache(8192)
def _number(value: int) -> bytes:
    return bulk(b"%d" % value)  # most amounts come again and again: lives, counts of tokens, small prices


_ALL_OR_NOTHING = _number(-1) + _number(0)


def _keys(*keys: bytes) -> bytes:
    return _number(len(keys)) + b"".join(bulk(key) for key in keys)


RESERVE_PARTS, EXTEND_PARTS, SETTLE_PARTS = 14, 12, 10
"""Arguments of each script, its keys and their number included."""


@dataclasses.dataclass(frozen=True, slots=True)
class Fewer:
    """Fewer output tokens will do, down to `least`; each one less costs `price` nano less.

    A reserve holds fewer where a limit can never carry all of them, or the month has no money for them; an extend also
    where they do not fit at this moment.
    """

    least: int
    price: int = 0


def reserve_tail(
    rid: bytes, life_ms: int, requests: int, tokens: int, output_tokens: int, nano: int, fewer: Fewer | None
) -> bytes:
    """Packed variable arguments of a reserve."""
    return bulk(rid) + _amounts(life_ms, requests, tokens, output_tokens, nano) + _fewer(fewer)


def extend_tail(rid: bytes, life_ms: int, tokens: int, output_tokens: int, nano: int, fewer: Fewer | None) -> bytes:
    """Packed variable arguments of an extend."""
    return bulk(rid) + _amounts(life_ms, tokens, output_tokens, nano) + _fewer(fewer)


def _fewer(fewer: Fewer | None) -> bytes:
    return _ALL_OR_NOTHING if fewer is None else _amounts(fewer.least, fewer.price)


def settle_tail(mode: bytes, rid: bytes, tokens: int = 0, output_tokens: int = 0, nano: int = 0) -> bytes:
    """Packed variable arguments of a settle, release or expire."""
    return bulk(mode) + bulk(rid) + _amounts(tokens, output_tokens, nano)


def _amounts(*values: int) -> bytes:
    if min(values) < 0:
        raise ValueError("amounts to reserve cannot be negative")
    return b"".join(map(_number, values))


class QuotaStore:
    """Blocking store for workers, tasks and tests. Thread-safe: each thread has its own line."""

    def __init__(self, url: str, timeout: float = 2.0) -> None:
        self._url, self._timeout = url, timeout
        self._local = threading.local()
        self.running: dict[str, Decision] = {}
        """What was reserved here and has not ended, for `recount`."""

    @property
    def line(self) -> SyncLine:
        line: SyncLine | None = getattr(self._local, "line", None)
        if line is None:
            line = self._local.line = SyncLine(self._url, self._timeout)
        return line

    def reserve(
        self,
        limits: CompiledLimits,
        reservation_id: str,
        *,
        requests: int = 1,
        tokens: int = 0,
        output_tokens: int = 0,
        nano: int = 0,
        life_ms: int = DEFAULT_LIFE_MS,
        fewer: Fewer | None = None,
    ) -> Decision:
        """Check all limits and hold the amounts, or hold nothing. Repeating an id charges once."""
        tail = reserve_tail(reservation_id.encode(), life_ms, requests, tokens, output_tokens, nano, fewer)
        answer = self.line.run("reserve", limits.packed, tail, RESERVE_PARTS)
        decision = parse_reserve(limits, reservation_id, answer)
        if decision.allowed:
            self.running[reservation_id] = decision
        return decision

    def peek(self, limits: CompiledLimits) -> list[int]:
        """What each limit has left now (of money -1 where it is not known); nothing is held."""
        left: list[int] = self.line.run(
            "reserve", limits.packed, reserve_tail(b"", 0, 0, 0, 0, 0, None), RESERVE_PARTS
        )[3:]
        return left

    def extend(
        self,
        tenant: UUID | str,
        reservation_id: str,
        *,
        tokens: int = 0,
        output_tokens: int = 0,
        nano: int = 0,
        life_ms: int = DEFAULT_LIFE_MS,
        fewer: Fewer | None = None,
    ) -> Extended:
        """Hold more, all or nothing, and move the deadline to `life_ms` from now if that is later."""
        tail = extend_tail(reservation_id.encode(), life_ms, tokens, output_tokens, nano, fewer)
        return parse_extend(self.line.run("extend", _tenant_keys(tenant).packed, tail, EXTEND_PARTS))

    def settle(
        self, tenant: UUID | str, reservation_id: str, *, tokens: int, output_tokens: int = 0, nano: int
    ) -> Settled:
        """Charge the actual amounts and give the rest back. Money beyond what was reserved is not charged."""
        self.running.pop(reservation_id, None)
        return self._finish(tenant, settle_tail(b"settle", reservation_id.encode(), tokens, output_tokens, nano))

    def release(self, tenant: UUID | str, reservation_id: str) -> Settled:
        """Give everything back, the request count included."""
        self.running.pop(reservation_id, None)
        return self._finish(tenant, settle_tail(b"release", reservation_id.encode()))

    def expire(self, tenant: UUID | str, reservation_id: str) -> Settled:
        """Settle at the reserved amounts if the deadline has passed; otherwise nothing."""
        self.running.pop(reservation_id, None)
        return self._finish(tenant, settle_tail(b"expire", reservation_id.encode()))

    def _finish(self, tenant: UUID | str, tail: bytes) -> Settled:
        return parse_settle(self.line.run("settle", _tenant_keys(tenant).packed, tail, SETTLE_PARTS))

    def life(self) -> bytes:
        """The server's present life; one begins here where it knows of none."""
        answer = self.line.run("declare", _number(0), _number(0), 2)
        return bytes(answer[1])

    def declare(self, calls: Iterable[Decision], life_ms: int = LONGEST_LIFE_MS) -> list[Decision]:
        """Have calls of one tenant, which run, counted as calls at once again; those that the server did not know. It
        holds nothing else for these, and a settle or release ends them as any other. How long each has left nobody
        knows, so they are given the longest life that there is."""
        known = {call.reservation_id: call for call in calls}
        if not known:
            return []
        keys = next(iter(known.values())).limits.keys
        tail = [_number(life_ms)]
        for rid, call in known.items():
            tail += bulk(rid.encode()), bulk(call.limits.blob)
        head = _keys(keys.deadlines, keys.records)
        answer = self.line.run("declare", head, b"".join(tail), 3 + len(tail))
        return [known[rid.decode()] for rid in answer[2:]]

    def begin(self) -> None:
        """Say that nothing was ever admitted, so that buckets begin full. A server that lost what it knew begins with
        empty ones: they refill from its first call on."""
        self.line.command("SET", "q:life", f"0@{run_id_of(self.line.command('INFO', 'server'))}")

    def grant(
        self,
        tenant: UUID | str,
        lease: str,
        *,
        epoch: int,
        block: int,
        nano: int,
        ends_ms: int,
        low_nano: int,
        rest_nano: int = 0,
    ) -> tuple[bool, int]:
        """Hand a block to the server: (taken, the server's clock). Never send one block twice; when this raises,
        the block counts as spent until reconciled. `rest_nano` is what the month has left beyond it, to be shown."""
        keys = _tenant_keys(tenant)
        tail = bulk(lease.encode()) + _amounts(epoch, block, nano, ends_ms, low_nano, rest_nano)
        answer = self.line.run("grant", _keys(keys.leases), tail, 9)
        return answer[0] == 1, answer[1]

    def tell_rest(self, tenant: UUID | str, lease: str, rest_nano: int) -> None:
        """What the month has left beyond the lease, which calls are told; jobs and storage change it without one."""
        self.line.command("HSET", _tenant_keys(tenant).leases, f"{lease}.r", rest_nano)

    def drain(self, tenant: UUID | str, lease: str, *, epoch: int, at_most: int) -> int | None:
        """Take back up to `at_most` nano nobody holds; None when the server no longer knows the epoch."""
        keys = _tenant_keys(tenant)
        tail = bulk(lease.encode()) + _number(epoch) + _number(at_most)
        answer = self.line.run("drain", _keys(keys.leases), tail, 5)
        return answer[2] if answer[0] == 1 else None

    def lease_state(self, tenant: UUID | str, lease: str) -> tuple[LeaseState | None, int]:
        """What the server holds of a lease (None: nothing), and the server's clock in ms."""
        answer = self._inspect(tenant, lease, 0)
        state = answer[1]
        if not state:
            return None, answer[0]
        return LeaseState(state[0], state[1] == 1, *state[2:]), answer[0]

    def due(self, tenant: UUID | str, at_most: int = 100) -> list[Due]:
        """Reservations past their deadline, oldest first."""
        flat = self._inspect(tenant, "", at_most)[2]
        return [Due(flat[i].decode(), flat[i + 1], flat[i + 2], flat[i + 3]) for i in range(0, len(flat), 4)]

    def _inspect(self, tenant: UUID | str, lease: str, at_most: int) -> list[Any]:
        keys = _tenant_keys(tenant)
        tail = bulk(lease.encode()) + _number(at_most)
        answer: list[Any] = self.line.run("inspect", _keys(keys.leases, keys.deadlines, keys.records), tail, 6)
        return answer

    def tenants(self) -> list[str]:
        """Tenants (hex) with reservations, found by scanning; for the sweeper, not for requests."""
        cursor = b"0"
        found: set[str] = set()
        while True:
            cursor, keys = self.line.command("SCAN", cursor, "MATCH", "q:{*}:records", "COUNT", 500)
            found.update(key.decode().split("{", 1)[1].split("}", 1)[0] for key in keys)
            if cursor == b"0":
                return sorted(found)

    def close(self) -> None:
        """Close this thread's line."""
        self.line.close()


class AsyncQuotaStore:
    """asyncio store: one pipelined line for the whole process. `settle` and `release` do not wait."""

    def __init__(self, url: str, timeout: float = 0.5) -> None:
        self.line = AsyncLine(url, timeout)
        self.running: dict[str, Decision] = {}
        """What was reserved here and has not ended, for `recount`."""
        self._owed: list[tuple[bytes, bytes]] = []

    async def reserve(
        self,
        limits: CompiledLimits,
        reservation_id: str,
        *,
        requests: int = 1,
        tokens: int = 0,
        output_tokens: int = 0,
        nano: int = 0,
        life_ms: int = DEFAULT_LIFE_MS,
        fewer: Fewer | None = None,
    ) -> Decision:
        """See `QuotaStore.reserve`. When it raises, what it may have held is released once the line is back."""
        verbs, rid = limits.keys.packed, reservation_id.encode()
        tail = reserve_tail(rid, life_ms, requests, tokens, output_tokens, nano, fewer)
        try:
            answer = await self.line.run("reserve", limits.packed, tail, RESERVE_PARTS)
        except (QuotaUnavailable, asyncio.CancelledError):
            self._end(verbs, settle_tail(b"release", rid))  # on a line that stands it follows the reserve
            raise
        if self._owed:
            self._pay_owed()
        decision = parse_reserve(limits, reservation_id, answer)
        if decision.allowed:
            self.running[reservation_id] = decision
        return decision

    async def extend(
        self,
        limits: CompiledLimits,
        reservation_id: str,
        *,
        tokens: int,
        output_tokens: int = 0,
        nano: int,
        life_ms: int = DEFAULT_LIFE_MS,
        fewer: Fewer | None = None,
    ) -> Extended:
        """See `QuotaStore.extend`."""
        tail = extend_tail(reservation_id.encode(), life_ms, tokens, output_tokens, nano, fewer)
        return parse_extend(await self.line.run("extend", limits.keys.packed, tail, EXTEND_PARTS))

    def settle(
        self, limits: CompiledLimits, reservation_id: str, *, tokens: int, output_tokens: int = 0, nano: int
    ) -> None:
        """Queue a settle; kept for later when the line is down, or breaks before the answer."""
        self.running.pop(reservation_id, None)
        self._end(limits.keys.packed, settle_tail(b"settle", reservation_id.encode(), tokens, output_tokens, nano))

    def release(self, limits: CompiledLimits, reservation_id: str) -> None:
        """Queue a release; kept for later in the same way."""
        self.running.pop(reservation_id, None)
        self._end(limits.keys.packed, settle_tail(b"release", reservation_id.encode()))

    def close(self) -> None:
        self.line.close()

    def _end(self, verbs: bytes, tail: bytes) -> None:
        answer = self.line.post("settle", verbs, tail, SETTLE_PARTS)
        if answer is None:
            self._owe(verbs, tail)
        else:
            answer.add_done_callback(partial(self._ended, verbs, tail))

    def _ended(self, verbs: bytes, tail: bytes, answer: asyncio.Future[Any]) -> None:
        """Keep what was never run: the line broke, or the server had forgotten its scripts."""
        if answer.exception() is not None or (
            isinstance(answer.result(), hiredis.ReplyError) and str(answer.result()).startswith("NOSCRIPT")
        ):
            self._owe(verbs, tail)

    def _owe(self, verbs: bytes, tail: bytes) -> None:
        if len(self._owed) < OWED_MOST:  # beyond that the sweeper does it, after the reservations' lives
            self._owed.append((verbs, tail))

    def _pay_owed(self) -> None:
        owed, self._owed = self._owed, []
        for verbs, tail in owed:
            self._end(verbs, tail)


def _tenant_keys(tenant: UUID | str) -> TenantKeys:
    return TenantKeys(tenant.hex if isinstance(tenant, UUID) else tenant)
