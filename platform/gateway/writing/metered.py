"""One metered call that writes text: reserve, write, extend, settle.

The prompt's tokens are known exactly, those of the answer are not. So a first few are reserved with the prompt, the
engine is told how many it may make, and when three quarters of them are used more are reserved and the engine is told.
What is denied is never made: the engine ends with reason `budget` exactly at what is reserved, so that a call never
costs more than was held for it, and small budgets carry many short calls at once.

Whatever ends the call, `MeteredCall` settles or releases it, without waiting for anything: a client that leaves pays
for the prompt that the engine was given and for what was made until then, a fault of ours before the first token costs
nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Coroutine
from functools import partial
from types import TracebackType
from typing import Any

from billing.errors import CallRefused
from billing.metering import SpoolError
from billing.metering.events import UsageEvent
from billing.quotas import QuotaProtocolError, QuotaUnavailable, Ticket
from gateway.calls import Call, unrecorded
from gateway.errors import ContextTooLong, EngineAway, ModelStopped, from_engine
from gateway.metrics import note_batch, note_first_token, note_written
from gateway.wire import Disconnected
from gateway.writing.wishes import Wish
from inference.client import EngineClient, Generation
from inference.errors import EngineError, NotResident
from inference.wire import Piece, Rendered, Sampling
from kit.errors import ApiError, BadRequest, Unavailable
from serving.routes import Route
from tenants.errors import KeyRefused

log = logging.getLogger(__name__)

CHUNK = 256
"""Tokens of answer that are reserved at a time."""
LEAST = 16
"""A call whose budget cannot carry so many, for each of its texts, is refused; or ended, with so many for all."""
UNTOLD = 8
"""Tokens that the engine tells of at the latest when there are so many, text or not."""
LIFE_MS = 120_000
RENEW_SECONDS = 40.0
"""A reservation ends after its life; a call that runs says so this often that it still does."""
STANDING_SECONDS = 2.0
"""How often a call that writes looks whether its key still opens; the book of keys reads as often."""
BUFFER = 64
"""Pieces of several prompts that may wait for a slow client."""


class Share:
    """The writing of one prompt: how many tokens it may make, and how many it made."""

    def __init__(self, prompt: list[int], sampling: Sampling, choices: int) -> None:
        self.prompt, self.sampling, self._choices = prompt, sampling, choices
        self.most = sampling.max_tokens * choices
        self.granted = self.used = self.cached = self.compute_us = self.queue_us = 0
        self.seed = sampling.seed
        self.closed = False  # nothing more will be granted
        self.generation: Generation | None = None

    @property
    def low(self) -> bool:
        """Whether three quarters are used of what could still grow, or so much that the rest may be made but untold:
        the engine holds tokens back until they are text."""
        left = self.granted - self.used
        return not self.closed and self.granted < self.most and left <= max(self.granted // 4, UNTOLD * self._choices)

    def grant(self, tokens: int) -> None:
        """So many more."""
        self.granted += tokens
        if self.generation is not None:
            self.generation.allow(self.granted)

    def close(self) -> None:
        """No more: the engine ends at what is granted."""
        self.closed = True
        if self.generation is not None:
            self.generation.allow(self.granted, last=True)

    async def next(self) -> Piece | None:
        """The next piece; None when all is written."""
        generation = self.generation
        assert generation is not None  # noqa: S101 - called after it began
        try:
            piece = await anext(generation)
        except StopAsyncIteration:
            result = generation.result
            if result is not None:
                self.used = min(max(self.used, result.output_tokens), self.granted)
                self.cached, self.compute_us, self.queue_us = result.cached_tokens, result.compute_us, result.queue_us
                self.seed = result.seed if self.seed is None else self.seed
            return None
        self.used = min(self.used + piece.tokens, self.granted)
        return piece

    def stop(self) -> None:
        """Cancel what has not ended, and count what had come unread."""
        if self.generation is not None:
            unread = sum(piece.tokens for piece in self.generation.close())
            self.used = min(self.used + unread, self.granted)


class MeteredCall:
    """A call that was admitted and writes. Use as a context manager: leaving it settles or releases what is open.

    Raises ContextTooLong before anything is reserved, CallRefused where the limits do not carry even a little.
    """

    def __init__(self, call: Call, route: Route, kind: str, wish: Wish, rendered: Rendered, param: str) -> None:
        self._call, self._route, self._kind, self._wish = call, route, call.key.kind(kind), wish
        self.shares: list[Share] = []
        for prompt in rendered.prompts:
            if not prompt:
                raise BadRequest(f"'{param}' holds no text. Send some.", param=param)
            if len(prompt) >= rendered.limit:
                raise ContextTooLong(route.model, len(prompt), rendered.limit, param)
            self.shares.append(Share(prompt, wish.within(rendered.limit - len(prompt)), wish.choices))
        self.prompt_tokens = sum(len(share.prompt) for share in self.shares)
        self._ticket: Ticket | None = None
        self._spare = 0  # reserved for answers that ended before they used it
        self._tasks: list[asyncio.Task[None]] = []
        self._renewal: asyncio.TimerHandle | None = None
        self._look: asyncio.TimerHandle | None = None
        self._refused: ApiError | None = None  # the key was closed while it wrote
        self._engine = contextlib.ExitStack()  # the engine's part of the trace

    @property
    def _given_tokens(self) -> int:
        """Tokens of the prompts that the engine was given."""
        return sum(len(share.prompt) for share in self.shares if share.generation is not None)

    @property
    def output_tokens(self) -> int:
        """Tokens made so far, over all prompts and choices."""
        return sum(share.used for share in self.shares)

    @property
    def cached_tokens(self) -> int:
        """Tokens of the prompts that the engine had computed before."""
        return sum(share.cached for share in self.shares)

    async def __aenter__(self) -> MeteredCall:
        most = sum(share.most for share in self.shares)
        count = len(self.shares)
        least = min(most, LEAST * count * self._wish.choices)
        with self._call.trace.span("quota"):
            granted = await self._admit(min(most, max(CHUNK, least)), least)
        self._engine.enter_context(self._call.trace.span("engine"))
        even, self._spare = divmod(granted, count)
        for share in self.shares:
            share.granted = min(even, share.most)
            self._spare += even - share.granted
        self._renew_later()
        self._look_later()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing here waits, so that nothing can come between."""
        self._engine.close()
        for timer in (self._renewal, self._look):
            if timer is not None:
                timer.cancel()
        for task in self._tasks:
            task.cancel()
        for share in self.shares:
            share.stop()
        ticket, gate = self._ticket, self._call.process.gate
        if ticket is None or ticket.done:
            return
        # Who leaves pays for what was computed. Where we fail, who streamed has what was made; who waited for the whole
        # has nothing. A batch that leaves is our own worker: the line is asked again, and paid for then.
        left = isinstance(error, Disconnected) or (self._call.gone and isinstance(error, asyncio.CancelledError))
        left = left and not self._call.key.batch
        if (left and self._given_tokens) or (self.output_tokens and self._wish.stream):
            try:
                self.settle()
            except Unavailable:
                log.error("the usage of %s could not be recorded: nothing is charged", self._call.request_id)
        else:
            gate.release(ticket)

    def settle(self) -> UsageEvent:
        """Write the usage down and give back what is left; before the answer's last byte. Unavailable when it cannot be
        written."""
        assert self._ticket is not None  # noqa: S101 - settled after it was admitted
        note = self._call.note
        note.items, note.input_tokens, note.output_tokens = len(self.shares), self._given_tokens, self.output_tokens
        note.cached_tokens = self.cached_tokens
        note.engine_ms = -(-sum(share.compute_us for share in self.shares) // 1000)
        queue_us = max(share.queue_us for share in self.shares)
        note.queue_ms = round(queue_us / 1000)
        note_batch(self._kind, queue_us / 1e6, 0)
        try:
            with self._call.trace.span("settle"):
                event = self._call.process.gate.settle(
                    self._ticket, input_tokens=note.input_tokens, output_tokens=note.output_tokens,
                    gpu_ms=note.engine_ms, cached_tokens=note.cached_tokens,
                )  # fmt: skip
        except SpoolError as error:
            raise unrecorded() from error
        assert event is not None  # noqa: S101 - settled once
        note.cost_nano = event.cost_nano
        note_written(self._kind, note.output_tokens)
        return event

    async def pieces(self) -> AsyncIterator[tuple[int, Piece]]:
        """Pieces as they are written, each with the place of its prompt. ApiError where the engine fails."""
        if len(self.shares) == 1:
            async for piece in self._write(self.shares[0]):
                yield 0, piece
            return
        arrived: asyncio.Queue[tuple[int, Piece] | Exception | None] = asyncio.Queue(BUFFER)
        self._tasks = [
            asyncio.create_task(self._write_into(arrived, index, share)) for index, share in enumerate(self.shares)
        ]
        left = len(self._tasks)
        while left:
            found = await arrived.get()
            if isinstance(found, Exception):
                raise found
            if found is None:
                left -= 1
            else:
                yield found

    # -- inside ----------------------------------------------------------------------------------------------------

    async def _admit(self, wanted: int, least: int) -> int:
        """Reserve the prompt and so many tokens of answer, or fewer where the limits can never carry them."""
        call, record = self._call, self._call.key.record
        ticket = await call.process.gate.admit(
            call.key.limits, call.request_id, kind=self._kind, model=self._route.model,
            project_id=record.project_id, key_id=call.key.key_id, tokens=self.prompt_tokens, output_tokens=wanted,
            at_least=least, life_ms=LIFE_MS,
        )  # fmt: skip
        call.key.headers = ticket.headers
        call.headers += call.key.headers
        if ticket.denial is not None:
            raise CallRefused(ticket.denial)
        self._ticket = ticket
        return ticket.output_tokens

    async def _write(self, share: Share) -> AsyncIterator[Piece]:
        try:
            piece = await self._call.resident(self._route, partial(self._begin, share))
            first = time.perf_counter() - self._call.started
            note_first_token(self._kind, first)
            self._call.trace.event("first token")
            self._call.note.first_token_ms = self._call.note.first_token_ms or round(first * 1000)
            while piece is not None:
                if self._refused is not None:
                    raise self._refused
                while share.low:  # what was to spare may not be enough: the engine would wait, and hold back why
                    await self._extend(share)
                yield piece
                piece = await share.next()
        except NotResident as error:
            raise (ModelStopped() if share.used else EngineAway()) from error
        except EngineError as error:
            raise from_engine(error, None, rule=self._wish.rule) from error
        self._spare += share.granted - share.used
        share.granted = share.used

    async def _write_into(
        self, arrived: asyncio.Queue[tuple[int, Piece] | Exception | None], index: int, share: Share
    ) -> None:
        try:
            async for piece in self._write(share):
                await arrived.put((index, piece))
            await arrived.put(None)
        except Exception as error:  # raised again by who reads the queue
            await arrived.put(error)

    async def _begin(self, share: Share, engine: EngineClient) -> Piece | None:
        """Ask the engine; the first piece."""
        route, key = self._route, self._call.key
        share.generation = await engine.generate(
            tenant=key.tenant, prompt=share.prompt, sampling=share.sampling, allowed=share.granted,
            model=route.version, base="" if route.version else route.base, choices=self._wish.choices, stream=True,
            weight=key.weight, trace=self._call.trace.traceparent,
        )  # fmt: skip
        try:
            return await share.next()
        except EngineError as error:
            if error.untouched:
                share.generation = None  # nothing was computed; who leaves while the model is brought in owes nothing
            raise

    async def _extend(self, share: Share) -> None:
        """More for an answer that has used most of its tokens, a token at the least; where the limits carry none, it is
        closed."""
        room = share.most - share.granted
        spare = min(self._spare, room, CHUNK)
        if spare:
            self._spare -= spare
            share.grant(spare)
            return
        assert self._ticket is not None  # noqa: S101 - extended after it was admitted
        try:
            with self._call.trace.span("extend"):
                granted = await self._call.process.gate.extend_by(
                    self._ticket, output_tokens=min(CHUNK, room), at_least=LEAST, life_ms=LIFE_MS
                )
        except (QuotaUnavailable, QuotaProtocolError):
            log.warning("%s ends early: the quota server did not answer", self._call.request_id)
            granted = 0
        if granted:
            share.grant(granted)
        else:
            share.close()

    def _renew_later(self) -> None:
        loop = asyncio.get_running_loop()
        self._renewal = loop.call_later(RENEW_SECONDS, self._renew)

    def _renew(self) -> None:
        self._beside(self._live_on())
        self._renew_later()

    def _look_later(self) -> None:
        self._look = asyncio.get_running_loop().call_later(STANDING_SECONDS, self._look_again)

    def _look_again(self) -> None:
        self._beside(self._stand())
        self._look_later()

    def _beside(self, work: Coroutine[Any, Any, None]) -> None:
        """Have something done beside the writing, and ended with it."""
        self._tasks = [task for task in self._tasks if not task.done()]
        self._tasks.append(asyncio.get_running_loop().create_task(work))

    async def _stand(self) -> None:
        """Whoever was shut out while a text is written gets no more of it."""
        try:
            await self._call.process.keys.standing(self._call.key)
        except KeyRefused:
            self._refused = KeyRefused(
                "The answer ends here: its API key was revoked or has expired, or its member may call models no more."
            )
        except ApiError as error:
            self._refused = error

    async def _live_on(self) -> None:
        assert self._ticket is not None  # noqa: S101 - renewed after it was admitted
        try:
            await self._call.process.gate.extend(self._ticket, life_ms=LIFE_MS)
        except (QuotaUnavailable, QuotaProtocolError):
            log.warning("the reservation of %s could not be renewed yet", self._call.request_id)
