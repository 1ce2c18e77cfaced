"""One caller, as the engine sees it: frames are read, messages handed to the engine, answers written.

A connection that is lost takes its queued work with it. A peer that does not read its answers is not read from.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, cast

import msgspec

from inference import tracing, wire
from inference.errors import BadRequest, Draining, EngineError, Internal, TooLarge, Unauthorised
from inference.runner import Job

if TYPE_CHECKING:
    from inference.generation.seam import Event, WritingRequest
    from inference.server import Server

log = logging.getLogger(__name__)

HELLO_LIMIT = 1024  # bytes a peer may send before it has shown the token
HELLO_SECONDS = 5.0
NEW = (
    wire.Classify, wire.Embed, wire.Rank, wire.Tag, wire.Ask, wire.Nearest, wire.Count, wire.Render, wire.Generate,
    wire.Load, wire.Parity,
)  # fmt: skip
"""What an engine that leaves does not take any more."""


class Connection(asyncio.Protocol):
    """One caller."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._engine = server.engine
        self._frames = wire.Frames(HELLO_LIMIT)
        self._welcome = False
        self._jobs: dict[int, Job] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._writings: dict[int, WritingRequest] = {}
        self._answers: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self._hello_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are not of that class
        self._server.connections.add(self)
        self._hello_timer = asyncio.get_running_loop().call_later(HELLO_SECONDS, self._check_welcome)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._server.connections.discard(self)
        for job in self._jobs.values():
            self._engine.runner.cancel(job)
        for task in self._tasks.values():
            task.cancel()
        for asked in self._writings.values():
            asked.cancel()
        self._jobs.clear()
        self._writings.clear()

    @property
    def pending(self) -> int:
        """Requests of this caller that are not answered yet."""
        return len(self._jobs) + len(self._tasks) + len(self._writings)

    def leave(self) -> None:
        """Tell the caller that nothing new is taken. One that has not shown the token yet hears it when it does."""
        if self._welcome:
            self._send(wire.Leaving())
            self.flush()

    def pause_writing(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        try:
            for body in self._frames.feed(data):
                self._handle(wire.read_request(body))
        except (msgspec.MsgspecError, EngineError) as error:
            refusal = error if isinstance(error, EngineError) else BadRequest(f"An unreadable message: {error}")
            self._send(wire.Failed(0, refusal.code, refusal.message))
            self.flush()
            self.close()
        self.flush()

    def close(self) -> None:
        """Close after what is written has gone out."""
        if self._transport is not None:
            self._transport.close()

    def flush(self) -> None:
        """Write the gathered answers."""
        if self._answers and self._transport is not None:
            self._transport.write(b"".join(self._answers))
        self._answers.clear()

    def _check_welcome(self) -> None:
        if not self._welcome:
            self.close()

    def _handle(self, message: wire.Request) -> None:
        if not self._welcome:
            self._greet(message)
            return
        try:
            if isinstance(message, NEW):
                self._server.requests += 1
                self._server.last_request = time.monotonic()
                if self._server.draining:
                    raise Draining("This engine is about to leave.", retry_after=1.0)
            match message:
                case wire.Classify():
                    self._jobs[message.id] = self._engine.classify(message, self._answering(message, wire.Classified))
                case wire.Embed():
                    self._jobs[message.id] = self._engine.embed(message, self._answering(message, wire.Embedded))
                case wire.Rank():
                    self._jobs[message.id] = self._engine.rank(message, self._answering(message, wire.Classified))
                case wire.Tag():
                    self._run(message.id, self._engine.tag(message))
                case wire.Ask():
                    self._run(message.id, self._engine.ask(message))
                case wire.Cancel():
                    self._cancel(message.id)
                case wire.Describe():
                    self._send(self._engine.describe(message))
                case wire.Unload():
                    self._send(self._engine.unload(message))
                case wire.Health():
                    self._send(self._engine.health(message))
                case wire.Leave():
                    self._send(wire.Done(message.id, found=True))
                    self._server.leaving.set()
                case wire.Join():
                    self._server.pool = message.pool
                    now = time.monotonic()  # it begins anew: it was not idle in this pool
                    self._server.last_request = self._server.pool_since = now
                    self._server.on_change()
                    self._send(wire.Done(message.id, found=True))
                case wire.Load():
                    self._run(message.id, self._engine.load(message))
                case wire.Nearest():
                    self._run(message.id, self._engine.nearest(message))
                case wire.Parity():
                    self._run(message.id, self._engine.parity(message))
                case wire.Count():
                    self._run(message.id, self._engine.count(message))
                case wire.Render():
                    self._run(message.id, self._engine.render(message))
                case wire.Generate():
                    self._begin(message)
                case wire.Allow():
                    self._allow(message)
                case wire.Hello():
                    raise Unauthorised("This connection is already open.")
        except EngineError as error:
            self._fail(getattr(message, "id", 0), error)

    def _greet(self, message: wire.Request) -> None:
        if not isinstance(message, wire.Hello):
            raise Unauthorised("The first message of a connection must be `hello`.")
        if not wire.OLDEST <= message.version <= wire.PROTOCOL:
            raise Unauthorised(f"This engine speaks protocol {wire.PROTOCOL}, not {message.version}.")
        if not hmac.compare_digest(message.token.encode(), self._engine.settings.token.encode()):
            raise Unauthorised("The engine's token is wrong.")
        if self._server.draining:
            raise Draining("This engine is about to leave.", retry_after=1.0)
        self._welcome = True
        self._frames.limit = wire.MAX_FRAME
        self._send(wire.Welcome(wire.PROTOCOL, self._engine.backend.name))

    def _answering(
        self, message: wire.Classify | wire.Embed | wire.Rank, kind: type[wire.Classified | wire.Embedded]
    ) -> Any:
        """What the runner calls when the rows of a request are computed; nothing is sent for a cancelled one."""
        request_id = message.id

        def answer(job: Job, error: EngineError | None) -> None:
            if self._jobs.pop(request_id, None) is None:
                return
            if error is not None:
                self._fail(request_id, error)
                return
            if message.trace and tracing.on():
                tracing.record("queue", message.trace, tracing.wall_ns(job.started), tracing.wall_ns(job.begun))
            self._send(
                kind(
                    request_id, job.rows.shape[1], job.rows.tobytes(), job.lengths, job.resident.max_length,
                    round(job.compute_s * 1e6), round((job.begun - job.started) * 1e6), job.batch_rows,
                )
            )  # fmt: skip

        return answer

    def _cancel(self, request_id: int) -> None:
        job = self._jobs.pop(request_id, None)
        if job is not None:
            self._engine.runner.cancel(job)
        if (asked := self._writings.pop(request_id, None)) is not None:
            asked.cancel()
        task = self._tasks.pop(request_id, None)
        if task is not None:
            task.cancel()

    def _begin(self, message: wire.Generate) -> None:
        """Queue a text; its pieces are sent as they come."""

        came = time.time_ns()

        def answer(event: Event) -> None:
            if isinstance(event, EngineError):
                self._writings.pop(message.id, None)
                self._fail(message.id, event)
                return
            if isinstance(event, wire.Generated):
                self._writings.pop(message.id, None)
                _trace_writing(message.trace, came, event)
            self._send(event)

        async def begin() -> None:
            try:
                self._writings[message.id] = await self._engine.generate(message, answer)
            except EngineError as error:
                self._fail(message.id, error)
                self.flush()
            except Exception:
                log.exception("request %d failed", message.id)
                self._fail(message.id, Internal("The engine failed on this request; see its log."))
                self.flush()
            finally:
                self._tasks.pop(message.id, None)

        self._tasks[message.id] = asyncio.get_running_loop().create_task(begin())

    def _allow(self, message: wire.Allow) -> None:
        asked = self._writings.get(message.id)
        if asked is not None:
            asked.allow(message.tokens, last=message.last)

    def _run(self, request_id: int, work: Coroutine[Any, Any, wire.Message]) -> None:
        """Answer later, from a task."""
        self._tasks[request_id] = asyncio.get_running_loop().create_task(self._answer_later(request_id, work))

    async def _answer_later(self, request_id: int, work: Coroutine[Any, Any, wire.Message]) -> None:
        try:
            self._send(await work)
        except EngineError as error:
            self._fail(request_id, error)
        except Exception:
            log.exception("request %d failed", request_id)
            self._fail(request_id, Internal("The engine failed on this request; see its log."))
        finally:
            self._tasks.pop(request_id, None)
            self.flush()

    def _fail(self, request_id: int, error: EngineError) -> None:
        self._send(wire.Failed(request_id, error.code, error.message, error.retry_after))

    def _send(self, message: wire.Message) -> None:
        try:
            self._answers.append(wire.pack(message))
        except TooLarge as error:
            self._fail(getattr(message, "id", 0), error)


def _trace_writing(trace: str, came_ns: int, event: wire.Generated) -> None:
    """A text that is written: how long it waited for its first step, and how long it was written."""
    if not trace or not tracing.on():
        return
    begun_ns = came_ns + event.queue_us * 1000
    tracing.record("queue", trace, came_ns, begun_ns)
    tracing.record(
        "write", trace, begun_ns, time.time_ns(), output_tokens=event.output_tokens, compute_us=event.compute_us,
        cached_tokens=event.cached_tokens,
    )  # fmt: skip
