"""The gateway's one door to quota and metering.

    # once per process
    gate = QuotaGate(redis_url, spool=SpoolWriter(folder), prices=price_books(), on_lease_wanted=keeper.want)

    # once per key (and model); keep the result beside the key, drop it when the key or plan changes
    limits = limits_for(tenant_id=..., plan=LimitSet(...), key_id=key_id, key=LimitSet(...))

    # per call; all awaiting is here, about 0.1 ms
    ticket = await gate.admit(limits, request_id, kind="classify", model=name,
                              project_id=project_id, key_id=key_id, tokens=upper_bound)
    if ticket.denial is not None:                  # nothing was charged
        answer(ticket.denial.status, error_body(ticket.denial), ticket.denial.headers); return
    try:
        result = await engine(...)
    except EngineFailed:
        gate.release(ticket)                       # our fault: the request count comes back as well
        raise
    gate.settle(ticket, input_tokens=result.tokens, gpu_ms=result.gpu_ms)   # before the last byte of the answer
    answer(200, body, ticket.headers)

Rules for the caller:

- `request_id` is one we made, new for each call, never one a client sent: an id already reserved is not charged again.
- `tokens` is an upper bound (for encoders: min(max_length, bytes + 2) per text, summed; or the exact count). Money is
  charged for actual tokens, never for more than was reserved here, so a bound too low costs us, not the tenant.
- `settle` writes the usage event to the local file (one `write`, a few microseconds) and queues the settle; it never
  waits for Redis. It raises `SpoolError` when the event cannot be recorded: answer 503 then, do not give it away.
- Call exactly one of `settle` and `release`, in a `finally`-safe way. If neither happens (a crash), the reservation
  ends by itself: it leaves concurrency at its deadline and the sweeper finds its fate.
- A call longer than its life (`life_ms`, 120 s unless told) must `await gate.extend(ticket, ...)` in time.
- When the quota server is away: calls that cost nothing pass on local rate buckets; calls that cost money get a 503
  with `Retry-After`. There is no way to switch that off.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Callable, Coroutine
from typing import Protocol
from uuid import UUID

from billing.metering.events import UsageEvent, event_id
from billing.metering.spool import SpoolError, SpoolWriter
from billing.prices import PriceBooks, PriceVersion, Usage, rate
from billing.prices.rating import Price
from billing.quotas.answers import Extended
from billing.quotas.decision import Decision, rate_headers
from billing.quotas.denial import AWAY, Denial, denial
from billing.quotas.errors import QuotaProtocolError, QuotaUnavailable
from billing.quotas.limits import CompiledLimits, Limit
from billing.quotas.local import LocalBuckets
from billing.quotas.store import DEFAULT_LIFE_MS, AsyncQuotaStore, Fewer
from billing.quotas.trace import Amounts, Caller, Refusal, away, ended_early, refusal_of

LeaseWanted = Callable[[str, Limit, int], "asyncio.Future[bool] | None"]
OnRefused = Callable[[Refusal], None]


class LimitsOf(Protocol):
    """A caller's limits: compiled ones, or what has others for some models."""

    def of(self, model: str) -> CompiledLimits:
        """The limits of a call of `model`."""


_LEASE_WAIT_SECONDS = 2.0
_BOOK_SECONDS = 30.0


@dataclasses.dataclass(slots=True)
class Ticket:
    """One admitted or refused call."""

    decision: Decision | None
    denial: Denial | None
    request_id: str
    kind: str
    model: str
    project_id: UUID
    key_id: UUID | None
    book: PriceVersion
    price: Price
    reserved_nano: int
    output_tokens: int = 0
    """Tokens of answer that are held: no more may be written."""
    done: bool = False

    @property
    def caller(self) -> Caller:
        """Whose call it is, for the trace."""
        return Caller(self.request_id, self.kind, self.model, self.project_id, self.key_id)

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """Rate-limit headers for the answer, raw ASGI pairs."""
        return rate_headers(self.decision) if self.decision is not None else []


class QuotaGate:
    """Admission, settlement and metering for one gateway process (one event loop). See the module's docstring.

    `on_lease_wanted(tenant_hex, spend_limit, nano)` is called when a lease runs low or is missing, from the event
    loop, so it must not block; it may return a future of whether a refill brought something, or None when it is known
    to be empty. Without it, a scheduled task refills every few seconds. `on_refused` is told why each refused call was
    refused; it must not block either.
    """

    def __init__(
        self,
        redis_url: str,
        *,
        spool: SpoolWriter | None = None,
        prices: PriceBooks,
        on_lease_wanted: LeaseWanted | None = None,
        on_refused: OnRefused | None = None,
        timeout: float = 0.5,
    ) -> None:
        self.store = AsyncQuotaStore(redis_url, timeout)
        self._spool, self._prices, self._on_lease_wanted = spool, prices, on_lease_wanted
        self._on_refused = on_refused
        self._local = LocalBuckets()
        self._cached_until = 0.0
        self._price_cache: dict[tuple[str, str, str], tuple[PriceVersion, Price]] = {}

    async def admit(
        self,
        limits: LimitsOf,
        request_id: str,
        *,
        kind: str,
        model: str,
        project_id: UUID,
        key_id: UUID | None,
        tokens: int,
        output_tokens: int = 0,
        requests: int = 1,
        life_ms: int = DEFAULT_LIFE_MS,
        at_least: int | None = None,
    ) -> Ticket:
        """Reserve `tokens` in and `output_tokens` out at most, with their price; all limits or none.

        Which limits there are depends on the model. With `at_least`, fewer output tokens are reserved, down to that,
        where a limit can never carry all of them or the month has no money for them: `Ticket.output_tokens` says how
        many may be written.
        """
        limits = limits.of(model)
        book, price = self._price(limits.currency, kind, model)
        nano = tokens * price.input_token + output_tokens * price.output_token + requests * price.request
        ticket = Ticket(None, None, request_id, kind, model, project_id, key_id, book, price, nano)
        asked = Amounts(requests, tokens, output_tokens, nano)
        fewer = None if at_least is None else Fewer(min(at_least, output_tokens), price.output_token)
        try:
            decision = await self._reserve(limits, request_id, asked, life_ms, fewer)
            if decision.low:
                decision = await self._refill(decision, limits, asked, life_ms, fewer)
        except (QuotaUnavailable, QuotaProtocolError):
            return self._without_server(ticket, limits, asked)
        ticket.decision = decision
        if not decision.allowed:
            self._refuse(ticket, decision, asked.with_fewer(fewer))
            return ticket
        ticket.output_tokens = output_tokens if decision.replayed else decision.output_tokens
        ticket.reserved_nano -= (output_tokens - ticket.output_tokens) * price.output_token
        return ticket

    async def extend(self, ticket: Ticket, *, tokens: int = 0, output_tokens: int = 0, life_ms: int) -> bool:
        """Hold more for a running call and move its deadline; False: end the call, its limits cannot carry more."""
        asked = Amounts(0, tokens, output_tokens, self._cost(ticket, tokens, output_tokens))
        extended = await self._extended(ticket, asked, life_ms)
        return tokens + output_tokens == 0 if extended is None else extended.allowed

    async def extend_by(self, ticket: Ticket, *, output_tokens: int, at_least: int, life_ms: int) -> int:
        """Hold more output tokens for a running call, or fewer where all do not fit now: how many. 0: end the call.

        Lease blocks are fetched where even the fewest need them.
        """
        fewer = Fewer(min(at_least, output_tokens), ticket.price.output_token)
        asked = Amounts(0, 0, output_tokens, self._cost(ticket, 0, output_tokens))
        extended = await self._extended(ticket, asked, life_ms, fewer)
        return 0 if extended is None else extended.output_tokens

    def settle(
        self, ticket: Ticket, *, input_tokens: int, output_tokens: int = 0, requests: int = 1, gpu_ms: int = 0,
        cached_tokens: int = 0,
    ) -> UsageEvent | None:  # fmt: skip
        """Record the usage event and give the unused part back; a second call does nothing and returns None."""
        decision = ticket.decision
        if decision is None or ticket.done:
            return None
        ticket.done = True
        usage = Usage(
            ticket.kind,
            ticket.model,
            input_tokens,
            output_tokens,
            requests,
            gpu_ms,
            cached_tokens=cached_tokens,
        )
        cost = min(rate(usage, ticket.book), ticket.reserved_nano)
        tenant_id = decision.limits.tenant_id
        event = UsageEvent(
            event_id=event_id(tenant_id, ticket.request_id, ticket.kind),
            request_id=ticket.request_id,
            tenant_id=tenant_id,
            project_id=ticket.project_id,
            key_id=ticket.key_id,
            model=ticket.model,
            kind=ticket.kind,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            requests=requests,
            gpu_ms=gpu_ms,
            price_version=ticket.book.version,
            cost_nano=cost,
            occurred_at=decision.now_ms,
            cached_tokens=cached_tokens,
        )
        if self._spool is not None:
            try:
                self._spool.append(event)
            except SpoolError:
                ticket.done = False
                self.release(ticket)
                raise
        if decision.local:
            self._end_local(decision)
        elif decision.allowed:
            self.store.settle(
                decision.limits, ticket.request_id, tokens=input_tokens, output_tokens=output_tokens, nano=cost
            )
        return event

    def release(self, ticket: Ticket) -> None:
        """Undo an admission whose call failed through our fault or never ran; no usage event."""
        decision = ticket.decision
        if decision is None or ticket.done:
            return
        ticket.done = True
        if decision.local:
            self._end_local(decision)
        elif decision.allowed:
            self.store.release(decision.limits, ticket.request_id)

    def close(self) -> None:
        """Close the line to the quota server."""
        self.store.close()

    # -- inside ----------------------------------------------------------------------------------------------------

    def _cost(self, ticket: Ticket, tokens: int, output_tokens: int) -> int:
        return tokens * ticket.price.input_token + output_tokens * ticket.price.output_token

    async def _extended(
        self, ticket: Ticket, asked: Amounts, life_ms: int, fewer: Fewer | None = None
    ) -> Extended | None:
        """Ask for more, once more where lease blocks come for it; a denial is traced. None for a call that no server
        counts."""
        decision = ticket.decision
        if decision is None or decision.local:
            return None
        extended = await self._extend(ticket, decision, asked, life_ms, fewer)
        blocked = None if extended.place is None else decision.limits.limits[extended.place]
        lease = fewer is not None and blocked is not None and blocked.kind == "spend"
        if lease and await self._more_money(ticket, decision, asked.output_tokens):
            extended = await self._extend(ticket, decision, asked, life_ms, fewer)
        if not extended.allowed:
            self._trace(ended_early(decision, extended, asked.with_fewer(fewer), ticket.caller))
        return extended

    async def _extend(
        self, ticket: Ticket, decision: Decision, asked: Amounts, life_ms: int, fewer: Fewer | None
    ) -> Extended:
        extended = await self.store.extend(
            decision.limits,
            ticket.request_id,
            tokens=asked.tokens,
            output_tokens=asked.output_tokens,
            nano=asked.nano,
            life_ms=life_ms,
            fewer=fewer,
        )
        if extended.allowed:
            ticket.output_tokens += extended.output_tokens
            ticket.reserved_nano += asked.nano - self._cost(ticket, 0, asked.output_tokens - extended.output_tokens)
        return extended

    async def _more_money(self, ticket: Ticket, decision: Decision, output_tokens: int) -> bool:
        """After a denied extend: fetch lease blocks that could carry it; whether any came, so that it is worth asking
        again. A reserve does this by itself; an extend has no time to, while the call runs on what it holds."""
        nano = output_tokens * ticket.price.output_token
        if not nano or self._on_lease_wanted is None:
            return False
        limits = decision.limits
        wanted = [self._on_lease_wanted(limits.tenant, limits.limits[i], nano) for i in limits.indices("spend")]
        waits = [future for future in wanted if future is not None]
        if not waits:
            return False
        done, late = await asyncio.wait(waits, timeout=_LEASE_WAIT_SECONDS)
        return not late and all(future.result() for future in done)

    def _price(self, currency: str, kind: str, model: str) -> tuple[PriceVersion, Price]:
        if time.monotonic() > self._cached_until or len(self._price_cache) > 10_000:
            self._cached_until = time.monotonic() + _BOOK_SECONDS  # a published book may have come into force
            self._price_cache.clear()
        found = self._price_cache.get((currency, kind, model))
        if found is None:
            book = self._prices.current(_wall_ms(), currency)
            found = self._price_cache[currency, kind, model] = book, book.price(kind, model)
        return found

    def _reserve(
        self, limits: CompiledLimits, request_id: str, asked: Amounts, life_ms: int, fewer: Fewer | None
    ) -> Coroutine[None, None, Decision]:
        return self.store.reserve(
            limits,
            request_id,
            requests=asked.requests,
            tokens=asked.tokens,
            output_tokens=asked.output_tokens,
            nano=asked.nano,
            life_ms=life_ms,
            fewer=fewer,
        )

    def _refuse(self, ticket: Ticket, decision: Decision, asked: Amounts) -> None:
        ticket.denial = denial(decision, ticket.model, keyless=ticket.key_id is None)
        self._trace(refusal_of(decision, asked, ticket.caller, status=ticket.denial.status))

    def _trace(self, refusal: Refusal | None) -> None:
        """Keep why; never at the cost of the answer."""
        if self._on_refused is not None and refusal is not None:
            self._on_refused(refusal)

    async def _refill(
        self, decision: Decision, limits: CompiledLimits, asked: Amounts, life_ms: int, fewer: Fewer | None
    ) -> Decision:
        """Ask for lease blocks. A call denied for want of one waits and tries again, for as long as blocks come:
        in a burst others may have taken the first."""
        if self._on_lease_wanted is None:
            return decision
        until = time.monotonic() + _LEASE_WAIT_SECONDS
        while True:
            needed = 0 if decision.allowed else asked.nano
            futures = [self._on_lease_wanted(limits.tenant, limit, needed) for limit in decision.low]
            waits = [future for future in futures if future is not None]
            patience = until - time.monotonic()
            if decision.allowed or not decision.wants_lease or not waits or patience <= 0:
                return decision
            done, _ = await asyncio.wait(waits, timeout=patience)
            decision = await self._reserve(limits, decision.reservation_id, asked, life_ms, fewer)
            if decision.allowed or not all(future.result() for future in done):
                return decision

    def _without_server(self, ticket: Ticket, limits: CompiledLimits, asked: Amounts) -> Ticket:
        if ticket.reserved_nano > 0 and limits.indices("spend"):
            ticket.denial = AWAY
            self._trace(away(limits, asked, ticket.caller, at_ms=_wall_ms(), status=AWAY.status))
            return ticket
        blocked, wait_ms, remaining = self._local.take(
            limits, requests=asked.requests, tokens=asked.tokens, output_tokens=asked.output_tokens
        )
        # Under the call's own id a release is owed, for the reserve that got no answer: it is told under another.
        known_as = f"{ticket.request_id}:local"
        decision = Decision(blocked is None, known_as, _wall_ms(), limits, remaining, local=True)
        ticket.decision = decision
        if blocked is not None:
            decision.limit, decision.reason, decision.wait_ms = blocked, "rate", wait_ms
            self._refuse(ticket, decision, asked)
        else:
            self.store.running[known_as] = decision
        ticket.output_tokens = asked.output_tokens
        return ticket

    def _end_local(self, decision: Decision) -> None:
        """A call that no server admitted ends: one that was told of it lets it go. It was charged nothing there."""
        self.store.running.pop(decision.reservation_id, None)
        if decision.told:
            self.store.release(decision.limits, decision.reservation_id)


def _wall_ms() -> int:
    """This machine's clock, only where the quota server's is not to be had: choosing a price book, local buckets."""
    return time.time_ns() // 1_000_000
