"""The thread of one causal base: takes what is asked, computes step after step, hands out what was written.

Whoever asks calls `submit`, `allow` and `cancel` from the event loop. `deliver` brings what became of it back there,
one hop for all that a step made.
"""

from __future__ import annotations

import logging
import random
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from inference import wire
from inference.adapters import Adapter
from inference.errors import BadRequest, EngineError, Internal
from inference.generation.base import Speech
from inference.generation.choosing import Chooser, Chosen, choose
from inference.generation.decoder import Decoder
from inference.generation.grammar import Matcher
from inference.generation.paging import Blocks
from inference.generation.text import TextStream
from inference.generation.turns import Limits, Request, Sequence, Step, Turns

log = logging.getLogger(__name__)

PAUSE_SECONDS = 60.0
"""How long a text waits for an allowance before it is ended where it stands."""
MAX_CHOICES = 128
MAX_STOPS = 16

Event = wire.Piece | wire.Generated | EngineError


@dataclass(slots=True, eq=False)
class Writing(Request):
    """A request with the words around it. `answer` is called on the event loop, for each event in order."""

    message: wire.Generate = field(kw_only=True)
    answer: Callable[[Event], None] = field(kw_only=True)
    choosers: dict[int, Chooser] = field(default_factory=dict)
    texts: dict[int, TextStream] = field(default_factory=dict)
    held: dict[int, _Held] = field(default_factory=dict)
    open: int = 0
    compute_s: float = 0.0
    arrived: float = field(default_factory=time.perf_counter)
    began: float | None = None
    paused: float | None = None


@dataclass(slots=True)
class _Held:
    """What of a choice has not been handed out."""

    text: str = ""
    tokens: int = 0
    reports: list[wire.TokenReport] = field(default_factory=list)


@dataclass(slots=True)
class Counters:
    """What one base has written since the start."""

    requests: int = 0
    read: int = 0  # tokens of prompts that were computed
    cached: int = 0  # tokens of prompts that were found in the cache
    written: int = 0
    steps: int = 0
    cancelled: int = 0
    first_token: deque[float] = field(default_factory=lambda: deque(maxlen=1024))  # seconds, queue included


class Writer:
    """Owns a decoder, its turns, and the thread that computes them."""

    def __init__(
        self, decoder: Decoder, speech: Speech, limits: Limits, deliver: Callable[[Callable[[], None]], None]
    ) -> None:
        self.decoder, self.speech = decoder, speech
        self.turns = Turns(Blocks(decoder.blocks), limits)
        self.counters = Counters()
        self._deliver = deliver
        self._asked: deque[Callable[[], None]] = deque()  # work that is not a step, such as scoring
        self._work = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._loop, name="write", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, timeout: float = 10.0) -> None:
        """Finish the step at hand and end the thread."""
        with self._work:
            self._stopping = True
            self._work.notify()
        if self._thread.is_alive():
            self._thread.join(timeout)

    @property
    def busy(self) -> int:
        """Sequences that run or wait."""
        return len(self.turns.running) + self.turns.waiting

    def submit(
        self,
        message: wire.Generate,
        adapter: Adapter | None,
        limit: int,
        answer: Callable[[Event], None],
        grammar: Matcher | None = None,
    ) -> Writing:
        """Queue a text of at most `limit` tokens with its prompt; `grammar` is the compiled one of its sampling.
        Raises `BadRequest`, `TooLarge` or `Overloaded`."""
        self._check(message, limit)
        sampling = message.sampling
        writing = Writing(
            tenant=message.tenant,
            owner=f"{message.tenant}/{message.model or message.base}",
            adapter=adapter,
            allowed=message.allowed,
            rank=adapter.rank if adapter is not None else 0,
            weight=max(1, message.weight),
            message=message,
            answer=answer,
            open=message.choices,
        )
        seed = sampling.seed if sampling.seed is not None else secrets.randbits(63)
        for choice in range(message.choices):
            matcher = grammar.copy() if grammar is not None else None
            writing.choosers[choice] = Chooser(sampling, random.Random(f"{seed}/{choice}"), matcher)
            writing.texts[choice] = TextStream(sampling.stop)
            writing.held[choice] = _Held()
            prompt = list(message.prompt)
            writing.sequences.append(Sequence(writing, choice, prompt, len(prompt), sampling.max_tokens))
        with self._work:
            self.turns.submit(writing)
            self._work.notify()
        return writing

    def allow(self, writing: Writing, tokens: int, *, last: bool) -> None:
        """Raise what a request may write."""
        with self._work:
            writing.allowed = max(writing.allowed, tokens)
            writing.last = writing.last or last
            self._work.notify()

    def cancel(self, writing: Writing) -> None:
        """Nobody waits for it any more."""
        with self._work:
            if writing.open and not writing.cancelled:
                self.counters.cancelled += 1
                self.turns.cancel(writing)
                self._work.notify()

    def ask(self, work: Callable[[], Any], done: Callable[[Any, Exception | None], None]) -> None:
        """Run something on the compute thread between two steps; `done` is called on the event loop."""

        def run() -> None:
            try:
                result, error = work(), None
            except Exception as raised:
                result, error = None, raised
            self._deliver(lambda: done(result, error))

        with self._work:
            self._asked.append(run)
            self._work.notify()

    def _check(self, message: wire.Generate, limit: int) -> None:
        sampling, vocabulary = message.sampling, self.decoder.vocabulary
        if not message.prompt:
            raise BadRequest("The prompt is empty.")
        if min(message.prompt) < 0 or max(message.prompt) >= vocabulary:
            raise BadRequest(f"The prompt holds token numbers outside 0 to {vocabulary - 1}.")
        if not 1 <= message.choices <= MAX_CHOICES:
            raise BadRequest(f"The number of choices must be from 1 to {MAX_CHOICES}.")
        if sampling.max_tokens < 1 or message.allowed < 1:
            raise BadRequest("At least one token must be allowed.")
        if len(message.prompt) + sampling.max_tokens > limit:
            raise BadRequest(
                f"{len(message.prompt)} tokens of prompt and {sampling.max_tokens} of output are more than the "
                f"{limit} that the model reads."
            )
        if len(sampling.stop) > MAX_STOPS:
            raise BadRequest(f"At most {MAX_STOPS} stops are possible.")
        if sampling.bias and not (min(sampling.bias) >= 0 and max(sampling.bias) < vocabulary):
            raise BadRequest(f"A bias names a token outside 0 to {vocabulary - 1}.")

    def _loop(self) -> None:
        while True:
            with self._work:
                asked, step = None, None
                while not self._stopping:
                    asked = self._asked.popleft() if self._asked else None
                    ended = self._end_paused()
                    step = self.turns.next_step() if asked is None else None
                    if asked is not None or step is not None or ended:
                        break
                    self._work.wait(1.0 if self.busy else None)
                if self._stopping:
                    return
            if asked is not None:
                asked()
            if ended:
                self._hand_out(ended)
            if step is not None:
                self._compute(step)

    def _compute(self, step: Step) -> None:
        started = time.perf_counter()
        try:
            step = self.decoder.arrange(step, _adapters(step))
            adapters = _adapters(step)
            logits = self.decoder.step(step, adapters)
            ending = [part.sequence for part in step.parts if part.ends]
            chosen = choose(logits, [_chooser(s) for s in ending]) if logits is not None else []
        except Exception as error:  # a step may fail; the engine may not
            log.exception("a step of %d tokens failed", step.tokens)
            self._fail(step, error if isinstance(error, EngineError) else Internal("The engine failed; see its log."))
            return
        seconds = time.perf_counter() - started
        with self._work:
            self.turns.computed(step)
            self._count(step, seconds)
            events = [self._written(s, token) for s, token in zip(ending, chosen, strict=True) if not s.finish]
        self._hand_out([event for found in events for event in found])

    def _count(self, step: Step, seconds: float) -> None:
        counters, now = self.counters, time.perf_counter()
        counters.steps += 1
        counters.read += 0 if step.writing else step.tokens
        for part in step.parts:
            writing: Any = part.sequence.request
            writing.compute_s += seconds * (part.end - part.begin) / step.tokens
            if writing.began is None and part.ends:
                writing.began = now
                counters.first_token.append(now - writing.arrived)

    def _written(self, sequence: Sequence, chosen: Chosen) -> list[tuple[Writing, Event]]:
        """A token of a choice: what can be told of it now."""
        writing: Any = sequence.request
        self.turns.write(sequence, chosen.token)
        self.counters.written += 1
        text, held = writing.texts[sequence.choice], writing.held[sequence.choice]
        held.tokens += 1
        finish = ""
        if chosen.token in self.speech.voice.ends:
            finish = "stop"
        else:
            held.text += text.add(self.speech.pieces[chosen.token])
            if chosen.logprob is not None:
                held.reports.append(self._reported(chosen))
            matcher = writing.choosers[sequence.choice].matcher
            if text.stopped or (matcher is not None and matcher.ended):
                finish = "stop"
            elif sequence.written >= sequence.most:
                finish = "length"
            elif writing.last and not writing.left:
                finish = "budget"
        if finish:
            self.turns.end(sequence, finish)
            return self._end(sequence, finish)
        if writing.message.stream and (held.text or held.tokens >= 8):
            return [(writing, self._piece(sequence, ""))]
        return []

    def _end(self, sequence: Sequence, finish: str) -> list[tuple[Writing, Event]]:
        """The last piece of a choice, and of the request if it was the last choice."""
        writing: Any = sequence.request
        writing.held[sequence.choice].text += writing.texts[sequence.choice].end()
        events: list[tuple[Writing, Event]] = [(writing, self._piece(sequence, finish))]
        writing.open -= 1
        if not writing.open:
            self.counters.requests += 1
            self.counters.cached += writing.cached
            queued = (writing.began or time.perf_counter()) - writing.arrived
            events.append((
                writing,
                wire.Generated(
                    writing.message.id, len(writing.message.prompt), writing.cached, writing.used,
                    round(writing.compute_s * 1e6), round(queued * 1e6),
                ),
            ))  # fmt: skip
        return events

    def _piece(self, sequence: Sequence, finish: str) -> wire.Piece:
        writing: Any = sequence.request
        held, writing.held[sequence.choice] = writing.held[sequence.choice], _Held()
        reports = held.reports if writing.message.sampling.logprobs is not None else None
        return wire.Piece(writing.message.id, sequence.choice, held.text, held.tokens, finish, reports)

    def _reported(self, chosen: Chosen) -> wire.TokenReport:
        def chance(token: int, logprob: float) -> wire.TokenChance:
            return wire.TokenChance(self.speech.token_text(token), logprob, self.speech.pieces[token])

        return wire.TokenReport(chance(chosen.token, chosen.logprob or 0.0), [chance(*pair) for pair in chosen.top])

    def _end_paused(self) -> list[tuple[Writing, Event]]:
        """Texts that will be allowed no more, and those that waited too long for it."""
        events: list[tuple[Writing, Event]] = []
        now = time.perf_counter()
        for sequence in self.turns.paused():
            writing: Any = sequence.request
            writing.paused = writing.paused or now
            if writing.last or now - writing.paused > PAUSE_SECONDS:
                self.turns.drop(sequence, "budget")
                events += self._end(sequence, "budget")
        for sequence in self.turns.running:
            if sequence.request.left:
                sequence.request.paused = None  # type: ignore[attr-defined]  # only writings are ever submitted
        return events

    def _fail(self, step: Step, error: EngineError) -> None:
        with self._work:
            requests: dict[Any, None] = dict.fromkeys(part.sequence.request for part in step.parts)
            for writing in requests:
                self.turns.cancel(writing)
        self._hand_out([(writing, error) for writing in requests])

    def _hand_out(self, events: list[tuple[Writing, Event]]) -> None:
        told = [
            (writing, event) for writing, event in events if not writing.cancelled or isinstance(event, EngineError)
        ]
        if not told:
            return

        def tell() -> None:
            for writing, event in told:
                writing.answer(event)

        self._deliver(tell)


def _adapters(step: Step) -> list[Adapter | None]:
    requests: list[Any] = [part.sequence.request for part in step.parts]
    return [request.adapter for request in requests]


def _chooser(sequence: Sequence) -> Chooser:
    writing: Any = sequence.request
    chooser: Chooser = writing.choosers[sequence.choice]
    return chooser
