"""One request at a vLLM server: a task for each choice, a segment for each allowance, pieces as tokens come.

At most what is allowed is ever asked for: a segment takes its tokens out of the allowance before it begins, and gives
back those that it did not write. So the server is never ahead of what was reserved.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgspec

from inference import wire
from inference.background import standing
from inference.errors import EngineError, Internal, Unavailable
from inference.generation.base import Speech
from inference.generation.counters import Counters
from inference.generation.grammar import THREADS, Matcher
from inference.generation.seam import HELD_TOKENS, PAUSE_SECONDS, Event, WritingModel
from inference.generation.text import TextStream
from inference.generation.vllm import segments
from inference.generation.vllm.door import Door, UnknownName
from inference.generation.vllm.places import Places
from inference.generation.vllm.shelf import Shelf, name_of

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Means:
    """What every request of a base is written with. `flush` sends what was told."""

    name: str
    door: Door
    shelf: Shelf
    places: Places
    speech: Speech
    vocabulary: int
    counters: Counters
    flush: Callable[[], None]


@dataclass(slots=True, eq=False)
class Choice:
    """One text in the making. `lease`: tokens that its segment may still write; `read`: those its grammar has read."""

    number: int
    stream: TextStream
    matcher: Matcher | None
    written: list[int] = field(default_factory=list)
    lease: int = 0
    read: int = 0
    begun: bool = False
    finish: str = ""
    text: str = ""
    tokens: int = 0
    reports: list[wire.TokenReport] = field(default_factory=list)


class Writing:
    """A request with its choices. Make it, and call it, on the event loop."""

    def __init__(
        self, means: Means, message: wire.Generate, model: WritingModel | None, answer: Callable[[Event], None],
        grammar: Matcher | None, salt: str,
    ) -> None:  # fmt: skip
        self._means, self._message, self._model, self._answer, self._salt = means, message, model, answer, salt
        self._allowed, self._last = message.allowed, False
        self._used = self._leased = self._cached = 0
        self._compute_s = 0.0
        self._arrived = time.perf_counter()
        self._first: float | None = None
        self._over = False
        self._changed = asyncio.Event()
        stops = message.sampling.stop
        self._choices = [
            Choice(number, TextStream(stops), grammar.copy() if grammar is not None else None)
            for number in range(message.choices)
        ]
        self._standing = standing(message.tenant, message.weight)
        means.places.admit(self._standing.line, message.choices, background=self._standing.background)
        self.tasks = [asyncio.get_running_loop().create_task(self._write(choice)) for choice in self._choices]

    def allow(self, tokens: int, *, last: bool) -> None:
        """See `seam.WritingRequest`."""
        self._allowed = max(self._allowed, tokens)
        self._last = self._last or last
        self._tell_change()

    def cancel(self) -> None:
        """See `seam.WritingRequest`. Closing a segment's connection makes the server stop."""
        if not self._over:
            self._over = True
            self._means.counters.cancelled += 1
            self._stop()

    async def _write(self, choice: Choice) -> None:
        try:
            while not choice.finish:
                if choice.matcher is not None and await self._complete(choice, choice.matcher):
                    self._end(choice, "stop")
                elif await self._allowance(choice):
                    await self._segment(choice)
                else:
                    self._end(choice, "budget")
            self._ended()
        except EngineError as error:
            self._fail(error)
        except Exception:
            log.exception("a text of base %s failed", self._means.name)
            self._fail(Internal("The engine failed; see its log."))
        finally:
            if not choice.begun:
                choice.begun = True
                self._means.places.began(self._standing.line)
            self._means.flush()

    async def _complete(self, choice: Choice, matcher: Matcher) -> bool:
        """Whether nothing more may follow by a text's grammar."""
        work = partial(_complete, choice, matcher)
        return await asyncio.wrap_future(THREADS.submit(self._standing.line, work))

    async def _allowance(self, choice: Choice) -> bool:
        """Take tokens for the next segment, if need be wait for them; false where there will be none."""
        while not self._take(choice):
            if self._last and not self._leased:
                return False
            self._means.flush()
            try:
                async with asyncio.timeout(PAUSE_SECONDS):
                    await self._changed.wait()
            except TimeoutError:
                if not self._leased:
                    return False
        return True

    def _take(self, choice: Choice) -> bool:
        left = self._allowed - self._used - self._leased
        if left <= 0:
            return False
        sampling = self._message.sampling
        wanted = segments.longest(sampling, len(choice.written))
        waiting = sum(not one.finish and not one.lease for one in self._choices)
        share = max(1, left // waiting)
        if segments.is_cut(sampling):  # at the same places each time, as long as what is allowed carries it
            if left < wanted and self._leased and not self._last:
                return False
            share = left
        choice.lease = min(wanted, share)
        self._leased += choice.lease
        return True

    async def _segment(self, choice: Choice) -> None:
        """Ask the server for what was leased."""
        line, places, before = self._standing.line, self._means.places, len(choice.written)
        try:
            await places.take(line)
            started, beside = time.perf_counter(), places.running
            try:
                if not choice.begun:
                    choice.begun = True
                    places.began(line)
                await self._stream(choice)
            finally:
                self._compute_s += (time.perf_counter() - started) / max(1, (beside + places.running) / 2)
                read = len(self._message.prompt) if not before else 0
                written = len(choice.written) - before
                places.received(line, read=read, written=written, weight=self._standing.weight)
                places.give(line)
        finally:
            self._leased -= choice.lease
            choice.lease = 0
            self._tell_change()

    async def _stream(self, choice: Choice) -> None:
        asked, before = await asyncio.to_thread(self._body, choice), len(choice.written)
        for again in (True, False):
            try:
                async with contextlib.AsyncExitStack() as stack:
                    if self._model is not None:
                        await stack.enter_async_context(self._means.shelf.using(self._model))
                    events = self._means.door.stream(asked)
                    await stack.enter_async_context(contextlib.aclosing(events))
                    over = False
                    async for event in events:  # to the last one where the server has ended too: it counts the cache
                        over = self._read(choice, event, first=not before) or over
                        self._means.flush()
                        if choice.finish and not over:
                            return
                break
            except UnknownName as error:
                if self._model is None or not again:
                    raise Unavailable("The server lacks this model; try again shortly.", retry_after=2.0) from error
                self._means.shelf.forget(name_of(self._model))
        if len(choice.written) == before:
            raise Unavailable("The server that computes this base wrote nothing.", retry_after=2.0)

    def _body(self, choice: Choice) -> bytes:
        """In a thread: a grammar may take its time, and the tokens that it allows may be most of the vocabulary."""
        name = self._means.name if self._model is None else name_of(self._model)
        asked = segments.body(
            self._message.sampling, self._message.prompt, choice.written, tokens=choice.lease, choice=choice.number,
            ends=self._means.speech.voice.ends, mask=choice.matcher if choice.written else None,
            vocabulary=self._means.vocabulary,
        )  # fmt: skip
        return msgspec.json.encode(asked | {"model": name, "cache_salt": self._salt})

    def _read(self, choice: Choice, event: dict[str, Any], *, first: bool) -> bool:
        """One event of the server's, of a text's first segment or a later one; whether it has ended the segment."""
        usage = event.get("usage")
        if usage and first and not choice.number:
            self._cached = int((usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0)
        reason = None
        for option in event.get("choices") or ():
            for place, token in enumerate(option.get("token_ids") or ()):
                if not choice.finish:
                    self._written(choice, token, option.get("logprobs"), place)
            reason = option.get("finish_reason")
            if reason not in (None, "stop", "length") and not choice.finish:
                raise Unavailable("The server that computes this base gave up on this text.", retry_after=2.0)
        return reason is not None

    def _written(self, choice: Choice, token: int, logprobs: dict[str, Any] | None, place: int) -> None:
        means, speech = self._means, self._means.speech
        if choice.lease <= 0 or not 0 <= token < means.vocabulary:
            raise Internal("The server that computes this base wrote what it was not asked for.")
        if self._first is None:
            self._first = time.perf_counter()
            means.counters.first_token.append(self._first - self._arrived)
        choice.written.append(token)
        choice.lease -= 1
        choice.tokens += 1
        self._leased -= 1
        self._used += 1
        means.counters.written += 1
        if token in speech.voice.ends:
            return self._end(choice, "stop")
        choice.text += choice.stream.add(speech.pieces[token])
        if logprobs is not None and self._message.sampling.logprobs is not None:
            choice.reports.append(self._report(token, logprobs, place))
        if choice.stream.stopped:
            return self._end(choice, "stop")
        if len(choice.written) >= self._message.sampling.max_tokens:
            return self._end(choice, "length")
        if self._last and self._used >= self._allowed:
            return self._end(choice, "budget")
        if self._message.stream and (choice.text or choice.tokens >= HELD_TOKENS):
            self._tell(choice, "")
        return None

    def _report(self, token: int, logprobs: dict[str, Any], place: int) -> wire.TokenReport:
        def chance(number: int, logprob: float) -> wire.TokenChance:
            return wire.TokenChance(self._means.speech.token_text(number), logprob, self._means.speech.pieces[number])

        most = self._message.sampling.logprobs or 0
        found = (logprobs.get("top_logprobs") or [None])[place] if most else None
        best = sorted((found or {}).items(), key=lambda one: -one[1])[:most]
        top = [chance(int(name.removeprefix("token_id:")), value) for name, value in best]
        return wire.TokenReport(chance(token, float(logprobs["token_logprobs"][place])), top)

    def _end(self, choice: Choice, finish: str) -> None:
        """The last piece of a choice."""
        choice.finish = finish
        choice.text += choice.stream.end()
        self._tell(choice, finish)

    def _ended(self) -> None:
        """After each choice: the request has ended with the last of them."""
        if self._over or not all(one.finish and not one.lease for one in self._choices):
            return
        self._over = True
        counters, message = self._means.counters, self._message
        counters.requests += 1
        counters.cached += self._cached
        counters.read += len(message.prompt) - self._cached
        queued = (self._first or time.perf_counter()) - self._arrived
        self._answer(
            wire.Generated(
                message.id, len(message.prompt), self._cached, self._used, round(self._compute_s * 1e6),
                round(queued * 1e6), message.sampling.seed,
            )
        )  # fmt: skip

    def _tell(self, choice: Choice, finish: str) -> None:
        reports = choice.reports if self._message.sampling.logprobs is not None else None
        self._answer(wire.Piece(self._message.id, choice.number, choice.text, choice.tokens, finish, reports))
        choice.text, choice.tokens, choice.reports = "", 0, []

    def _fail(self, error: EngineError) -> None:
        if not self._over:
            self._over = True
            self._answer(error)
            self._stop()

    def _stop(self) -> None:
        current = asyncio.current_task()
        for task in self.tasks:
            if task is not current:
                task.cancel()

    def _tell_change(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


def _complete(choice: Choice, matcher: Matcher) -> bool:
    """In a thread: whether nothing more may follow by a text's grammar."""
    for token in choice.written[choice.read :]:
        matcher.take(token)
    choice.read = len(choice.written)
    return matcher.ended
