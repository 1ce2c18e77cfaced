"""One metered call: admit, compute, settle. Nothing runs unreserved, nothing is answered unrecorded.

Text that models write takes longer and is metered as it comes: `gateway.writing.metered`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeVar, cast
from uuid import UUID

from billing.errors import CallRefused
from billing.metering import SpoolError
from billing.quotas.store import DEFAULT_LIFE_MS
from gateway import agreement, metrics
from gateway.errors import EngineAway, from_engine
from gateway.keys import OpenKey
from gateway.process import Process
from gateway.sticky import caller_of
from gateway.wire import Disconnected, Headers, Receive, Scope, Send
from inference import wire as engine_wire
from inference.announcement import SHARED
from inference.client import EngineClient
from inference.errors import Draining, EngineError, NotResident, Unreachable
from inference.fleet import Want
from inference.tasks import EMBEDDINGS
from inference.tracing import UNTRACED, Untraced
from kit.errors import Unavailable
from kit.money import NANO
from serving import bounds, pools
from serving.errors import EnginesHalted, ModelCold
from serving.requests import RequestNote
from serving.routes import Route
from serving.splits import CANDIDATE, STABLE, Split

MODEL_STATE = b"x-model-state"
MODEL_VERSION = b"x-model-version"
ROLLOUT_ARM = b"x-rollout-arm"
COLD_SECONDS = 25.0
"""How long a call waits for an engine that is being started for it; within a reservation's life."""
WATCH_AFTER_SECONDS = 0.25
"""How long a call runs before anybody looks whether its client is still there."""

T = TypeVar("T")


Read = TypeVar("Read", bound=engine_wire.Computed)


@dataclass(slots=True)
class Call:
    """A request whose key opened."""

    process: Process
    key: OpenKey
    request_id: str
    receive: Receive
    body: bytes
    headers: Headers
    send: Send
    started: float
    note: RequestNote
    """What the request log will say of it."""
    scope: Scope = field(default_factory=dict)
    trace: Untraced = UNTRACED
    said: list[str] | None = None
    """What a stream has said so far; None where the project wants no texts kept, which is the rule."""
    gone: bool = False
    """Whether the client has left."""
    shadow: Split | None = None
    """The rollout whose candidate is asked as well, behind the answer."""
    cold_ms: int = 0
    """How long it waited for an engine to be started."""

    async def route(self, name: str, body: object = None) -> Route:
        """What a model's name stands for in the key's project, and while a rollout runs on it, for this caller: `body`
        may say who that is."""
        record = self.key.record
        self.note.model = name[:200]
        with self.trace.span("route"):
            route = await self.process.routes.find(record.tenant_id, record.project_id, name)
            if (await self.process.routes.project(record.tenant_id, record.project_id)).keeps:
                self.said = self.said or []
        if route.split is not None:
            route = self._arm(route, route.split, caller_of(body, self.scope) or self.request_id)
        self.note.version_id = UUID(hex=route.version) if route.version else None
        self.headers.append((MODEL_VERSION, route.said))
        return route

    def _arm(self, route: Route, split: Split, caller: str) -> Route:
        """The side of a rollout that a caller is on. A shadow only listens."""
        taken = split.takes(caller)
        if taken and split.shadow:
            self.shadow = split
        arm, chosen = (CANDIDATE, split.candidate) if taken and not split.shadow else (STABLE, route)
        self.note.arm = arm
        self.headers.append((ROLLOUT_ARM, arm.encode()))
        return chosen

    async def classify(
        self, route: Route, texts: list[str], kind: str, threshold: float = agreement.THRESHOLD
    ) -> engine_wire.Classified:
        """Probabilities of a deployed model, metered as `kind`. The threshold is only a shadow's: from which chance on
        the caller takes a label of several for given."""
        tenant, weight = self.key.tenant, self.key.weight

        def ask(engine: EngineClient) -> Awaitable[engine_wire.Classified]:
            trace = self.trace.traceparent
            return engine.classify(tenant=tenant, model=route.version, texts=texts, weight=weight, trace=trace)

        result = await self.metered(kind, route.model, route.tokens_at_most(texts), self.resident(route, ask))
        self._shadowed(route, result, lambda most: agreement.Texts(texts[:most], threshold))
        return result

    async def embed(
        self, route: Route, texts: list[str], dimensions: int = 0, *, kind: str = "embeddings"
    ) -> engine_wire.Embedded:
        """Vectors of a base or of a deployed model, metered as `kind`; `dimensions` 0 takes their own size."""
        tenant, weight = self.key.tenant, self.key.weight

        def ask(engine: EngineClient) -> Awaitable[engine_wire.Embedded]:
            return engine.embed(
                tenant=tenant, model=route.version, base="" if route.version else route.base, texts=texts,
                weight=weight, dimensions=dimensions, trace=self.trace.traceparent,
            )  # fmt: skip

        result = await self.metered(kind, route.model, route.tokens_at_most(texts), self.resident(route, ask))
        if route.task == EMBEDDINGS:  # a model for labels is compared by its labels
            self._shadowed(route, result, lambda most: agreement.Vectors(texts[:most], dimensions))
        return result

    async def rank(self, route: Route, query: str, texts: list[str]) -> engine_wire.Classified:
        """A cross-encoder's number for each text, metered as "rerank"."""
        tenant, weight = self.key.tenant, self.key.weight

        def ask(engine: EngineClient) -> Awaitable[engine_wire.Classified]:
            trace = self.trace.traceparent
            return engine.rank(
                tenant=tenant, model=route.version, query=query, texts=texts, weight=weight, trace=trace
            )  # fmt: skip

        tokens = bounds.of_ranked(query, texts, route.max_length)
        result = await self.metered("rerank", route.model, tokens, self.resident(route, ask))
        if len(texts) > 1:  # one document has no order that could be compared
            self._shadowed(route, result, lambda most: agreement.Documents(query, texts[:most]))
        return result

    async def tag(self, route: Route, texts: list[str], kind: str) -> engine_wire.Tagged:
        """Entities of texts that are read whole, metered as `kind`."""
        tenant, weight = self.key.tenant, self.key.weight

        def ask(engine: EngineClient) -> Awaitable[engine_wire.Tagged]:
            trace = self.trace.traceparent
            return engine.tag(tenant=tenant, model=route.version, texts=texts, weight=weight, trace=trace)

        tokens = bounds.of_whole(texts)
        result = await self.metered(kind, route.model, tokens, self.resident(route, ask))
        self._shadowed(route, result, lambda most: agreement.Tagging(texts[:most]))
        return result

    async def ask(self, route: Route, pairs: list[tuple[str, str]], answers: int, kind: str) -> engine_wire.Asked:
        """Answers to questions from contexts that are read whole, metered as `kind`."""
        tenant, weight = self.key.tenant, self.key.weight

        def ask(engine: EngineClient) -> Awaitable[engine_wire.Asked]:
            trace = self.trace.traceparent
            return engine.ask(
                tenant=tenant, model=route.version, pairs=pairs, answers=answers, weight=weight, trace=trace
            )

        tokens = bounds.of_pairs(pairs)
        result = await self.metered(kind, route.model, tokens, self.resident(route, ask))
        self._shadowed(route, result, lambda most: agreement.Questions(pairs[:most]))
        return result

    def _shadowed(self, route: Route, said: engine_wire.Computed, asked: Callable[[int], agreement.Comparable]) -> None:
        """Have the candidate of a shadow asked the same, behind the answer."""
        if self.shadow is not None and not self.key.batch:  # a batch may be all the calls there are for hours
            question = asked(agreement.MOST_ITEMS)
            self.process.shadows.offer(self.shadow, self.key, self.note.kind, route, question, said)

    async def metered(
        self, kind: str, model: str, tokens: int, work: Awaitable[Read], *, life_ms: int = DEFAULT_LIFE_MS
    ) -> Read:
        """Reserve for at most `tokens` and `life_ms`, await the work, settle for what it took."""
        kind, record, gate = self.key.kind(kind), self.key.record, self.process.gate
        try:
            with self.trace.span("quota"):
                ticket = await gate.admit(
                    self.key.limits, self.request_id, kind=kind, model=model, project_id=record.project_id,
                    key_id=self.key.key_id, tokens=tokens, life_ms=life_ms,
                )  # fmt: skip
        except BaseException:
            work.close()  # type: ignore[attr-defined]  # a coroutine that was never awaited
            raise
        self.key.headers = ticket.headers
        self.headers += self.key.headers
        if ticket.denial is not None:
            work.close()  # type: ignore[attr-defined]
            raise CallRefused(ticket.denial)
        try:
            with self.trace.span("engine"):
                result = await self.while_connected(work)
        except EngineError as error:
            gate.release(ticket)
            raise from_engine(error) from error
        except BaseException:
            gate.release(ticket)
            raise
        used = sum(min(length, result.limit) for length in result.lengths)
        self.note.items, self.note.input_tokens = len(result.lengths), used
        self.note.engine_ms = -(-result.compute_us // 1000)
        self.note.queue_ms, self.note.batch_rows = round(result.queue_us / 1000), result.batch_rows
        metrics.note_batch(kind, result.queue_us / 1e6, result.batch_rows)
        try:
            with self.trace.span("settle"):
                event = gate.settle(ticket, input_tokens=used, gpu_ms=self.note.engine_ms)
        except SpoolError as error:
            raise unrecorded() from error
        if event is not None:
            self.note.cost_nano = event.cost_nano
            self.headers.append(cost_header(event.cost_nano, self.key.currency))
        return result

    async def resident(self, route: Route, ask: Callable[[EngineClient], Awaitable[T]]) -> T:
        """Ask an engine; where it has forgotten the model, bring it in and ask once more."""

        async def one(engine: EngineClient) -> T:
            try:
                result = await ask(engine)
                self._tell_state(b"hot")
                return result
            except NotResident:
                if not route.version:
                    raise  # a base is there or is not
                # Signing addresses is work for a thread: the store's client is made at its first use.
                source = await asyncio.to_thread(route.place.source)
                described = await engine.load(
                    tenant=self.key.tenant, model=route.version, sha256=route.sha256, pin=route.pinned, **source
                )
            self._tell_state(b"loaded; ms=%d" % (self.cold_ms + described.cold_ms))
            try:
                return await ask(engine)
            except NotResident as error:
                raise EngineAway("The engine's memory is contended. Try again in a moment.") from error

        want = route.want(self.key.tenant)
        fleet = self.process.fleet
        if route.pool == SHARED:
            return await fleet.ask(want, one)
        if not fleet.present(want):
            await self._woken(route, want)
        try:
            return await fleet.ask(want, one)
        except (Draining, Unreachable):  # the last one left a moment ago, and nothing was computed
            await self._woken(route, want)
            return await fleet.ask(want, one)

    async def _woken(self, route: Route, want: Want) -> None:
        """Have an engine of the deployment's own started and wait for it; the answer tells how long that took."""
        if route.halted:
            raise EnginesHalted
        asked = time.perf_counter()
        await asyncio.to_thread(pools.called, want.pool)
        if not await self.process.fleet.until_present(want, COLD_SECONDS):
            raise ModelCold(COLD_SECONDS)
        self.cold_ms = round((time.perf_counter() - asked) * 1000)

    def _tell_state(self, state: bytes) -> None:
        """Whether the model was in memory or had to be brought in; a call that asks twice tells the first."""
        if all(name != MODEL_STATE for name, _ in self.headers):
            self.headers.append((MODEL_STATE, state))
            self.note.model_state = state.decode()

    async def while_connected(self, work: Awaitable[T]) -> T:
        """The result of the work; if the client goes away first, the work is cancelled (in the engine's queue as well).

        The watch begins after `WATCH_AFTER_SECONDS`: most calls are over by then, and a watch is a task of its own.
        """
        loop, current = asyncio.get_running_loop(), asyncio.current_task()
        watch: asyncio.Task[Any] | None = None

        def begin() -> None:
            nonlocal watch
            watch = loop.create_task(cast(Any, self.receive()))
            watch.add_done_callback(left)

        def left(ended: asyncio.Task[Any]) -> None:
            if not ended.cancelled() and current is not None:
                self.gone = True
                current.cancel()

        patience = loop.call_later(WATCH_AFTER_SECONDS, begin)
        try:
            return await work
        except asyncio.CancelledError:
            if self.gone:
                if current is not None:
                    current.uncancel()
                raise Disconnected from None
            raise
        finally:
            patience.cancel()
            if watch is not None:
                watch.remove_done_callback(left)
                watch.cancel()


def unrecorded() -> Unavailable:
    """The usage event could not be written down, so the answer is not given away."""
    return Unavailable("The call could not be recorded, so it was not answered or charged. Try again.")


def cost_header(nano: int, currency: str) -> tuple[bytes, bytes]:
    """What the call cost, to the nano, under the name of its currency."""
    return _cost_name(currency), b"%d.%09d" % divmod(nano, NANO)


@lru_cache(maxsize=200)  # as many as there can be currencies
def _cost_name(currency: str) -> bytes:
    return b"x-cost-" + currency.encode()
