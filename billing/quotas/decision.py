"""What a reserve answered, and the headers a client gets for it; `denial` has the words."""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from typing import Any, Literal

from billing.quotas.limits import CompiledLimits, Kind, Limit
from kit.money import NANO

Reason = Literal["rate", "concurrency", "too_large", "spend", "lease"]
_NEVER, _NO_LEASE, _LEASE_SMALL = -1, -2, -3
_SLOW_BITS = 20


@dataclasses.dataclass(slots=True)
class Decision:
    """The answer to a reserve. `remaining[i]` belongs to `limits.limits[i]`, after this reservation; of money it is
    what the month has left, or -1 where the quota server does not know it."""

    allowed: bool
    reservation_id: str
    now_ms: int  # the server's clock: the one time that counts for this call
    limits: CompiledLimits
    remaining: list[int]
    low: tuple[Limit, ...] = ()  # leases to refill
    slow: tuple[Limit, ...] = ()  # budgets at their soft cap: the call counted as many
    limit: Limit | None = None  # the limit that blocked
    reason: Reason | None = None
    wait_ms: int = 0
    local: bool = False  # admitted by the local bucket because the quota server did not answer
    told: bool = False  # a quota server may have been told that it runs (`recount`)
    output_tokens: int = 0  # of answer that are held: all that were asked for, or fewer where fewer would do
    replayed: bool = False  # this id had been reserved before; nothing was charged again

    @property
    def wants_lease(self) -> bool:
        """Denied only because Postgres has not granted a (large enough) block yet: worth one refill and one retry."""
        return self.reason in ("lease", "spend")


def parse_reserve(limits: CompiledLimits, reservation_id: str, answer: list[Any]) -> Decision:
    """Decision from the answer of `reserve.lua`."""
    code, now, bits = answer[0], answer[1], answer[2]
    if code == 1:
        decision = Decision(True, reservation_id, now, limits, answer[4:], output_tokens=answer[3])
    elif code == 2:
        return Decision(True, reservation_id, now, limits, [], replayed=True)
    else:
        wait = answer[4]
        limit = limits.limits[answer[3] - 1]
        decision = Decision(False, reservation_id, now, limits, answer[5:], limit=limit, wait_ms=max(wait, 0))
        decision.reason = _reason(limit, wait)
    if bits:
        leases = limits.indices("spend")
        decision.low = tuple(limits.limits[index] for n, index in enumerate(leases) if bits >> n & 1)
        if bits >> _SLOW_BITS:
            decision.slow = tuple(limits.limits[i] for n, i in enumerate(leases) if bits >> _SLOW_BITS + n & 1)
    return decision


def _reason(limit: Limit, wait: int) -> Reason:
    if wait == _NO_LEASE:
        return "lease"
    if wait == _LEASE_SMALL:
        return "spend"
    if wait == _NEVER:
        return "too_large"
    return "concurrency" if limit.kind == "concurrency" else "rate"


def duration(ms: int) -> str:
    """A span as the wire writes it: `120ms`, `1s`, `6m0s`, `1h0m0s`."""
    if ms < 1000:
        return f"{ms}ms"
    seconds = -(-ms // 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{seconds}s"
    return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"


_RATES: dict[Kind, bytes] = {
    "requests": b"requests",
    "tokens": b"tokens",
    "input_tokens": b"input-tokens",
    "output_tokens": b"output-tokens",
}
_SLOWED = b"x-budget-slowed"
_SCOPES = {
    "tenant": b"organization",
    "wallet": b"wallet",
    "project": b"project",
    "member": b"member",
    "key": b"api_key",
    "model": b"model",
}
"""Words for whose budget slows a call, on the wire."""


def _names(what: bytes) -> tuple[bytes, bytes, bytes]:
    return b"x-ratelimit-limit-" + what, b"x-ratelimit-remaining-" + what, b"x-ratelimit-reset-" + what


_HEADERS = {kind: _names(what) for kind, what in _RATES.items()}
_PROJECT_TOKENS = _names(b"project-tokens")


def rate_headers(decision: Decision) -> list[tuple[bytes, bytes]]:
    """Headers of the tightest limit of each kind, raw ASGI pairs: rates, a project's tokens, the money left, and whose
    budget slows the call.

    A kind without a limit has none; so has money where the quota server does not know what is left.
    """
    headers: list[tuple[bytes, bytes]] = []
    remaining = decision.remaining
    if not remaining:
        return headers
    limits = decision.limits
    for kind, names in _HEADERS.items():
        indices = limits.indices(kind)
        if indices:
            tightest = indices[0] if len(indices) == 1 else min(indices, key=remaining.__getitem__)
            headers += _one(limits.limits[tightest], remaining[tightest], names)
    project = limits.project_tokens
    if project is not None:
        headers += _one(limits.limits[project], remaining[project], _PROJECT_TOKENS)
    left = budget_left(decision)
    if left is not None:
        headers.append((_budget_name(limits.currency), b"%d.%09d" % divmod(left, NANO)))
    if decision.slow:
        headers.append((_SLOWED, b", ".join(_SCOPES[limit.scope] for limit in decision.slow)))
    return headers


@lru_cache(maxsize=200)  # as many as there can be currencies
def _budget_name(currency: str) -> bytes:
    return b"x-budget-remaining-" + currency.encode()


def budget_left(decision: Decision) -> int | None:
    """Nano that the tightest spend limit has left this month; None without one, or where it is not known."""
    if decision.local or not decision.remaining:
        return None
    known = [left for index in decision.limits.indices("spend") if (left := decision.remaining[index]) >= 0]
    return min(known, default=None)


def _one(limit: Limit, left: int, names: tuple[bytes, bytes, bytes]) -> tuple[tuple[bytes, bytes], ...]:
    cap = limit.cap
    full_in = -(-(cap - left) * limit.window_ms // cap) if cap else limit.window_ms
    reset = b"%dms" % full_in if full_in < 1000 else duration(full_in).encode()
    return (names[0], b"%d" % cap), (names[1], b"%d" % left), (names[2], reset)
