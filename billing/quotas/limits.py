"""Limits and their compiled form: a flat list, turned once per key into the bytes one call needs.

Kinds:

- `requests`, `tokens`, `input_tokens`, `output_tokens`: token bucket of `cap` per `window_ms`; starts full (empty on a
  server that lost what it knew); refills every millisecond; exact integers. `tokens` counts input and output together.
- `concurrency`: at most `cap` reservations alive at once; one past its deadline no longer counts. A server that lost
  what it knew admits none for `scripts.HOLD_MS`, until those who run calls have told it of them (`recount`).
- `spend`: nano of the caller's currency out of a lease that Postgres granted. `cap` is only shown; the lease is what is
  enforced. Of the scope `wallet` it is what credit and the limit on account carry; of every other a monthly limit.

What it does not promise: a bucket of `cap` admits up to twice its cap within the first window (a full bucket plus its
refill), as every token bucket does.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Literal
from uuid import UUID

import msgspec

from billing.quotas.errors import LimitError
from billing.quotas.wire import bulk
from kit.money import HOUSE

Kind = Literal["requests", "tokens", "input_tokens", "output_tokens", "concurrency", "spend"]
Scope = Literal["tenant", "wallet", "project", "member", "key", "model"]

MINUTE_MS = 60_000
# Places of a reservation's amounts in the scripts; 3 is money, which no bucket counts. They are part of the records of
# running reservations: new ones go to the end, so that servers of two versions can read each other's.
_UNITS = {"requests": 1, "tokens": 2, "input_tokens": 4, "output_tokens": 5}
_WHOSE = {"tenant": "t", "wallet": "w", "project": "p", "member": "u", "key": "k", "model": "m"}
_ONLY_ONE = ("tenant", "wallet")
"""Scopes of which a tenant has one."""
# Lua counts in doubles: cap x window must stay an exact integer with room for a debt of as much again.
MAX_CAP: dict[Kind, int] = {
    "requests": 10**9,
    "tokens": 10**10,
    "input_tokens": 10**10,
    "output_tokens": 10**10,
    "concurrency": 10**6,
    "spend": 10**18,
}


@dataclasses.dataclass(frozen=True, slots=True)
class Limit:
    """One cap on one thing. `scope_id` tells apart limits of one scope: a UUID in hex (of a member: its user's)."""

    scope: Scope
    scope_id: str
    kind: Kind
    cap: int
    window_ms: int = MINUTE_MS
    slow_nano: int | None = None
    """Of money: at so much left, or less, each call counts as `scripts.SLOWED` requests; None: it never does."""

    def __post_init__(self) -> None:
        if self.cap < 0 or self.cap > MAX_CAP[self.kind]:
            raise LimitError(f"cap {self.cap} of a {self.kind} limit is outside 0..{MAX_CAP[self.kind]}")
        if self.kind in _UNITS and (self.window_ms < 1 or self.cap * self.window_ms > 10**15):
            raise LimitError(f"{self.cap} {self.kind} per {self.window_ms} ms cannot be counted exactly")

    @property
    def name(self) -> str:
        """Stable name of the counter, unique within a tenant, and short: it travels with each call."""
        whose = _WHOSE[self.scope] + ("" if self.scope in _ONLY_ONE else self.scope_id)
        if self.kind in _UNITS and self.window_ms != MINUTE_MS:
            return f"{whose}:{self.kind[0]}{self.window_ms}"
        return f"{whose}:{self.kind[0]}"


class TenantKeys:
    """The Redis keys of one tenant. The hash tag keeps them in one cluster slot."""

    __slots__ = ("deadlines", "leases", "packed", "rates", "records", "tenant")

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant
        base = f"q:{{{tenant}}}:"
        self.rates = (base + "rates").encode()
        self.leases = (base + "leases").encode()
        self.deadlines = (base + "deadlines").encode()
        self.records = (base + "records").encode()
        # The four keys as the scripts take them, ready to send.
        self.packed = bulk(b"4") + b"".join(map(bulk, (self.rates, self.leases, self.deadlines, self.records)))


class CompiledLimits:
    """The limits of one caller, in the order the scripts report them: buckets, concurrency, spend.

    Immutable and cheap to share; the gateway keeps one per key (and model) and drops it when the plan changes.
    """

    __slots__ = ("_by_kind", "blob", "currency", "keys", "limits", "packed", "project_tokens", "tenant", "tenant_id")

    def __init__(self, tenant: UUID | str, limits: Iterable[Limit], currency: str = HOUSE) -> None:
        self.currency = currency
        self.tenant_id = tenant if isinstance(tenant, UUID) else UUID(hex=tenant)
        self.tenant = self.tenant_id.hex
        unique = {limit.name: limit for limit in limits}
        buckets = [limit for limit in unique.values() if limit.kind in _UNITS]
        concurrency = [limit for limit in unique.values() if limit.kind == "concurrency"]
        spend = [limit for limit in unique.values() if limit.kind == "spend"]
        self.limits: tuple[Limit, ...] = (*buckets, *concurrency, *spend)
        self.keys = TenantKeys(self.tenant)
        slow = [-1 if limit.slow_nano is None else limit.slow_nano for limit in spend]
        longest = max((limit.window_ms for limit in buckets), default=MINUTE_MS)
        self.blob: bytes = msgspec.msgpack.encode(
            [
                [number for limit in buckets for number in (_UNITS[limit.kind], limit.cap, limit.window_ms)],
                [limit.name for limit in buckets],
                [part for limit in concurrency for part in (limit.name, limit.cap)],
                [limit.name for limit in spend],
                [f"{limit.name}.{part}" for limit in spend for part in "kxawr"],
                2 * longest,
                slow if max(slow, default=-1) >= 0 else [],
            ]
        )
        self.packed = self.keys.packed + bulk(self.blob)
        self._by_kind = {
            kind: tuple(i for i, limit in enumerate(self.limits) if limit.kind == kind) for kind in MAX_CAP
        }
        self.project_tokens: int | None = next(
            (i for i in self._by_kind["tokens"] if self.limits[i].scope == "project"), None
        )
        """Position of the project's limit of tokens, which answers show apart."""

    def of(self, model: str) -> CompiledLimits:
        """The limits of a call of `model`: these. What knows models with limits of their own answers others."""
        return self

    def indices(self, kind: Kind) -> tuple[int, ...]:
        """Positions of the limits of `kind` in `limits` and in every answer's `remaining`."""
        return self._by_kind[kind]
