"""What a reserve answered, and the headers and words a client gets for it."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from billing.quotas.limits import CompiledLimits, Limit
from kit.money import usd

Reason = Literal["rate", "concurrency", "too_large", "spend", "lease"]
_NEVER, _NO_LEASE, _LEASE_SMALL = -1, -2, -3


@dataclasses.dataclass(slots=True)
class Decision:
    """The answer to a reserve. `remaining[i]` belongs to `limits.limits[i]`, after this reservation."""

    allowed: bool
    reservation_id: str
    now_ms: int  # the server's clock: the one time that counts for this call
    limits: CompiledLimits
    remaining: list[int]
    low: tuple[Limit, ...] = ()  # leases to refill
    limit: Limit | None = None  # the limit that blocked
    reason: Reason | None = None
    wait_ms: int = 0
    local: bool = False  # admitted by the local bucket because the quota server did not answer
    replayed: bool = False  # this id had been reserved before; nothing was charged again

    @property
    def wants_lease(self) -> bool:
        """Denied only because Postgres has not granted a (large enough) block yet: worth one refill and one retry."""
        return self.reason in ("lease", "spend")


def parse_reserve(limits: CompiledLimits, reservation_id: str, answer: list[Any]) -> Decision:
    """Decision from the answer of `reserve.lua`."""
    code, now, bits = answer[0], answer[1], answer[2]
    if code == 1:
        decision = Decision(True, reservation_id, now, limits, answer[3:])
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


_HEADERS = {
    "requests": (
        b"x-ratelimit-limit-requests",
        b"x-ratelimit-remaining-requests",
        b"x-ratelimit-reset-requests",
    ),
    "tokens": (b"x-ratelimit-limit-tokens", b"x-ratelimit-remaining-tokens", b"x-ratelimit-reset-tokens"),
}
_PROJECT_TOKENS = (
    b"x-ratelimit-limit-project-tokens",
    b"x-ratelimit-remaining-project-tokens",
    b"x-ratelimit-reset-project-tokens",
)


def rate_headers(decision: Decision) -> list[tuple[bytes, bytes]]:
    """Rate-limit headers of the tightest requests and tokens limits, raw ASGI pairs; empty where none applies."""
    headers: list[tuple[bytes, bytes]] = []
    remaining = decision.remaining
    if not remaining:
        return headers
    limits = decision.limits
    for kind in ("requests", "tokens"):
        indices = limits.indices(kind)
        if indices:
            headers += _one(limits.limits, remaining, min(indices, key=remaining.__getitem__), _HEADERS[kind])
    for index in limits.indices("tokens"):
        if limits.limits[index].scope == "project":
            headers += _one(limits.limits, remaining, index, _PROJECT_TOKENS)
            break
    return headers


def _one(
    limits: tuple[Limit, ...], remaining: list[int], index: int, names: tuple[bytes, bytes, bytes]
) -> list[tuple[bytes, bytes]]:
    limit, left = limits[index], remaining[index]
    full_in = -(-(limit.cap - left) * limit.window_ms // limit.cap) if limit.cap else limit.window_ms
    return [
        (names[0], b"%d" % limit.cap),
        (names[1], b"%d" % left),
        (names[2], duration(full_in).encode()),
    ]


@dataclasses.dataclass(frozen=True, slots=True)
class Denial:
    """A refusal on the wire: status, the four keys of the error body, and headers."""

    status: int
    type: str
    code: str
    message: str
    headers: tuple[tuple[bytes, bytes], ...]


_WHOSE = {"tenant": "organization", "project": "project", "key": "API key", "model": "model"}
_RAISE = {
    "tenant": "Raise the limit under Billing",
    "project": "Raise the limit under Settings, Projects",
    "key": "Raise the limit under API keys",
    "model": "Raise the limit",
}
_NO_RETRY = (b"x-should-retry", b"false")


def denial(decision: Decision) -> Denial:
    """What the client is told: which limit, how long, what to do. 429 for rates, 402 for money."""
    limit = decision.limit
    if limit is None:
        raise ValueError("the decision admits the call: there is nothing to refuse")
    whose = _WHOSE[limit.scope]
    headers = rate_headers(decision)
    if decision.reason in ("spend", "lease"):
        message = (
            f"This call would go beyond the monthly spend limit of your {whose} ({usd(limit.cap)}). "
            f"{_RAISE[limit.scope]}, or wait for the next billing period."
        )
        return Denial(402, "insufficient_quota", "budget_exceeded", message, (*headers, _NO_RETRY))
    if decision.reason == "too_large":
        message = (
            f"This request alone is larger than the limit of {limit.cap:,} {limit.kind} per "
            f"{duration(limit.window_ms)} of your {whose}. Send it in smaller parts."
        )
        return Denial(429, limit.kind, "rate_limit_exceeded", message, (*headers, _NO_RETRY))
    wait = max(decision.wait_ms, 1) if decision.reason == "rate" else 1000
    retry = ((b"retry-after-ms", b"%d" % wait), (b"retry-after", b"%d" % -(-wait // 1000)))
    if decision.reason == "concurrency":
        message = f"Your {whose} already has {limit.cap} calls running at once, its limit. Retry when one has finished."
        return Denial(429, "requests", "rate_limit_exceeded", message, (*headers, *retry))
    message = (
        f"Rate limit of your {whose} reached: {limit.cap:,} {limit.kind} per {duration(limit.window_ms)}. "
        f"Retry in {duration(wait)}."
    )
    return Denial(429, limit.kind, "rate_limit_exceeded", message, (*headers, *retry))


AWAY = Denial(
    503,
    "server_error",
    "quota_unavailable",
    "The quota service does not answer, so this call was not started and costs nothing. Retry in a second.",
    ((b"retry-after", b"1"),),
)
"""What a call that costs money is told while the quota server is away."""
