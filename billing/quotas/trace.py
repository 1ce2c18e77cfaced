"""Why calls were refused: noted beside the answer, written to PostgreSQL behind it.

A note is one dictionary look-up; nothing waits for it, and losing some (a killed process, a full buffer, a database
that is away for long) loses an explanation, never a limit. Refusals of one caller by one limit within a second are
one entry with a count and the first request ids. A tenant that is refused all the time gets an entry a minute instead,
so that what is kept of it stays small.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from typing import Literal
from uuid import UUID

from billing.quotas.answers import Extended
from billing.quotas.decision import Decision, Reason
from billing.quotas.limits import CompiledLimits, Limit
from billing.quotas.store import Fewer
from kit.metrics import Counter

Layer = Literal["platform", "tenant", "wallet", "project", "member", "key", "model"]
Why = Reason | Literal["away", "plan"]
"""`plan` is what the plan does not include, of jobs."""

MOST = 5_000
"""Entries that wait to be written; more are dropped."""
IDS = 20
"""Request ids kept of one entry."""
WINDOW_SECONDS, BUSY_WINDOW_SECONDS = 1.0, 60.0
BUSY_ROWS = 600
"""Entries of one tenant in an hour and process from which on they are a minute long."""
HOUR_SECONDS = 3600.0
ENDED_EARLY = 200
"""The status kept of a call that was answered, but shorter than it would have been."""

DROPPED = Counter("billing_decisions_dropped_total", "Refusals whose explanation was not kept: too many waited")


@dataclasses.dataclass(slots=True)
class Refusal:
    """One refusal, or several alike. Amounts are in the limit's unit: requests, tokens, calls at once or nano."""

    at_ms: int
    tenant_id: UUID
    project_id: UUID
    key_id: UUID | None
    request_ids: list[str]
    kind: str
    model: str
    layer: Layer
    scope_id: str
    limit_kind: str
    cap: int
    window_ms: int
    asked: int
    remaining: int | None
    """What the limit had left; None where it is not known."""
    wait_ms: int | None
    """When the call would have passed; None where no wait helps."""
    reason: Why
    status: int
    refused: int = 1

    @property
    def alike(self) -> tuple[object, ...]:
        """What refusals have in common that are counted together."""
        return (self.tenant_id, self.project_id, self.key_id, self.kind, self.model, self.layer, self.scope_id,
                self.limit_kind, self.reason)  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True)
class Amounts:
    """What a call asked for."""

    requests: int = 0
    tokens: int = 0
    output_tokens: int = 0
    nano: int = 0

    def with_fewer(self, fewer: Fewer | None) -> Amounts:
        """The same with as few output tokens as would have done."""
        if fewer is None:
            return self
        less = self.output_tokens - fewer.least
        return Amounts(self.requests, self.tokens, fewer.least, self.nano - less * fewer.price)

    def of(self, limit: Limit) -> int:
        """The part a limit counts."""
        amounts = {
            "requests": self.requests,
            "tokens": self.tokens + self.output_tokens,
            "input_tokens": self.tokens,
            "output_tokens": self.output_tokens,
            "spend": self.nano,
        }
        return amounts.get(limit.kind, 1)


@dataclasses.dataclass(frozen=True, slots=True)
class Caller:
    """Whose call it was, and what it called."""

    request_id: str
    kind: str
    model: str
    project_id: UUID
    key_id: UUID | None


def refusal_of(decision: Decision, asked: Amounts, caller: Caller, *, status: int) -> Refusal | None:
    """What to keep of a decision that refused a call; None for one that admitted it."""
    limit = decision.limit
    if limit is None:
        return None
    places = decision.limits.limits
    left = decision.remaining[places.index(limit)] if decision.remaining else -1
    return Refusal(
        at_ms=decision.now_ms,
        tenant_id=decision.limits.tenant_id,
        project_id=caller.project_id,
        key_id=caller.key_id,
        request_ids=[caller.request_id],
        kind=caller.kind,
        model=caller.model,
        layer=limit.scope,
        scope_id=limit.scope_id,
        limit_kind=limit.kind,
        cap=limit.cap,
        window_ms=limit.window_ms if limit.kind not in ("concurrency", "spend") else 0,
        asked=asked.of(limit),
        remaining=left if left >= 0 else None,
        wait_ms=decision.wait_ms if decision.reason == "rate" else decision.wait_ms or None,
        reason=decision.reason or "rate",
        status=status,
    )


def ended_early(decision: Decision, extended: Extended, asked: Amounts, caller: Caller) -> Refusal | None:
    """What to keep of a running call that ends early, for one of the limits it was reserved under."""
    if extended.place is None:
        return None
    limit = decision.limits.limits[extended.place]
    blocked = Decision(False, caller.request_id, extended.now_ms, decision.limits, [], limit=limit)
    blocked.reason, blocked.wait_ms = ("spend", 0) if limit.kind == "spend" else ("rate", extended.wait_ms)
    return refusal_of(blocked, asked, caller, status=ENDED_EARLY)


def away(limits: CompiledLimits, asked: Amounts, caller: Caller, *, at_ms: int, status: int) -> Refusal:
    """No limit said no: the server that counts them did not answer."""
    return Refusal(
        at_ms=at_ms,
        tenant_id=limits.tenant_id,
        project_id=caller.project_id,
        key_id=caller.key_id,
        request_ids=[caller.request_id],
        kind=caller.kind,
        model=caller.model,
        layer="platform",
        scope_id="",
        limit_kind="spend",
        cap=0,
        window_ms=0,
        asked=asked.nano,
        remaining=None,
        wait_ms=1000,
        reason="away",
        status=status,
    )


class TraceBuffer:
    """Refusals of one process until they are written. `note` is called where calls are answered and never blocks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[tuple[object, ...], tuple[float, Refusal]] = {}
        self._ready: list[Refusal] = []
        self._rows: dict[UUID, int] = {}
        self._hour = time.monotonic()

    def note(self, refusal: Refusal) -> None:
        """Count one refusal."""
        moment = time.monotonic()
        with self._lock:
            until, entry = self._open.get(refusal.alike, (0.0, None))
            if entry is not None and moment < until:
                entry.refused += refusal.refused
                if len(entry.request_ids) < IDS:
                    entry.request_ids += refusal.request_ids
                return
            if len(self._open) + len(self._ready) >= MOST:
                DROPPED.inc()
                return
            if entry is not None:
                self._ready.append(entry)
            if moment - self._hour > HOUR_SECONDS:
                self._rows.clear()
                self._hour = moment
            rows = self._rows[refusal.tenant_id] = self._rows.get(refusal.tenant_id, 0) + 1
            window = WINDOW_SECONDS if rows <= BUSY_ROWS else BUSY_WINDOW_SECONDS
            self._open[refusal.alike] = (moment + window, refusal)

    def take(self, *, everything: bool = False) -> list[Refusal]:
        """What can be written: entries whose time is over, or all."""
        moment = time.monotonic()
        with self._lock:
            over = [alike for alike, (until, _) in self._open.items() if everything or until <= moment]
            taken = self._ready + [self._open.pop(alike)[1] for alike in over]
            self._ready = []
        return taken

    def back(self, refusals: list[Refusal]) -> None:
        """These could not be written now: keep them for the next time, as far as there is room."""
        with self._lock:
            room = max(0, MOST - len(self._open) - len(self._ready))
            self._ready = refusals[:room] + self._ready
        DROPPED.inc(len(refusals[room:]))
