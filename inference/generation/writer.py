"""The thread of one causal base: takes what is asked, computes step after step, hands out what was written.

Whoever asks calls `submit`, `allow` and `cancel` from the event loop. `deliver` brings what became of it back there,
one hop for all that a step made. What a grammar allows next is worked out beside the thread, and a text waits for it
alone: nobody else's step is longer for it.
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
from typing import Any, cast

from inference import wire
from inference.adapters import Adapter, lanes_of
from inference.background import standing
from inference.errors import EngineError, Internal
from inference.generation.base import Speech
from inference.generation.choosing import Chooser, Chosen, choose
from inference.generation.counters import Counters
from inference.generation.decoder import Decoder
from inference.generation.fair_threads import FairThreads
from inference.generation.grammar import Matcher
from inference.generation.paging import Blocks
from inference.generation.seam import HELD_TOKENS, PAUSE_SECONDS, Event, check
from inference.generation.steps import Request, Sequence, Step
from inference.generation.text import TextStream
from inference.generation.turns import Limits, Turns

log = logging.getLogger(__name__)

MASK_SECONDS = 0.003
"""How long a step waits for texts whose grammar is being asked, so that they do not miss every second one."""

Told = tuple["Writing", Event]


@dataclass(slots=True, eq=False)
class Choice:
    """One text in the making: how it is chosen, and what of it has not been handed out."""

    chooser: Chooser
    stream: TextStream
    matcher: Matcher | None = None
    text: str = ""
    tokens: int = 0
    reports: list[wire.TokenReport] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Writing(Request):
    """A request with the words around it. `answer` is called on the event loop, for each event in order."""

    message: wire.Generate = field(kw_only=True)
    answer: Callable[[Event], None] = field(kw_only=True)
    seed: int = field(kw_only=True)
    choices: list[Choice] = field(default_factory=list)
    open: int = 0
    compute_s: float = 0.0
    arrived: float = field(default_factory=time.perf_counter)
    began: float | None = None
    paused: float | None = None


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
        self._held = 0  # texts whose grammar is being asked
        self._work = threading.Condition()
        self._stopping = False
        self._grammars = FairThreads(2, "grammar")
        self._thread = threading.Thread(target=self._loop, name="write", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, timeout: float = 10.0) -> None:
        """Finish the step at hand and end the threads."""
        with self._work:
            self._stopping = True
            self._work.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout)
        self._grammars.stop()

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
        check(message, limit, self.decoder.vocabulary)
        sampling = message.sampling
        line, weight, background = standing(message.tenant, message.weight)
        seed = sampling.seed if sampling.seed is not None else secrets.randbits(63)
        writing = Writing(
            tenant=line,
            owner=f"{message.tenant}/{message.model or message.base}",
            adapter=adapter,
            allowed=message.allowed,
            lanes=lanes_of(adapter.rank) if adapter is not None else 0,
            weight=weight,
            background=background,
            message=message,
            answer=answer,
            seed=seed,
            open=message.choices,
        )
        for number in range(message.choices):
            chooser = Chooser(sampling, random.Random(f"{seed}/{number}"))
            matcher = grammar.copy() if grammar is not None else None
            writing.choices.append(Choice(chooser, TextStream(sampling.stop), matcher))
            prompt = list(message.prompt)
            writing.sequences.append(
                Sequence(writing, number, prompt, len(prompt), sampling.max_tokens, held=matcher is not None)
            )
        with self._work:
            self.turns.submit(writing)
            for sequence in writing.sequences:
                self._ask_grammar(sequence, None)
            self._work.notify_all()
        return writing

    def allow(self, writing: Writing, tokens: int, *, last: bool) -> None:
        """Raise what a request may write."""
        with self._work:
            writing.allowed = max(writing.allowed, tokens)
            writing.last = writing.last or last
            self._work.notify_all()

    def cancel(self, writing: Writing) -> None:
        """Nobody waits for it any more."""
        with self._work:
            if writing.open and not writing.cancelled:
                self.counters.cancelled += 1
                self.turns.cancel(writing)
                self._work.notify_all()

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
            self._work.notify_all()

    def _loop(self) -> None:
        while not self._stopping:
            try:
                self._turn()
            except Exception:  # whatever it was: the thread goes on, and nobody is left waiting
                log.exception("base that writes: a turn failed")
                with self._work:
                    requests = {_writing(s): None for s in [*self.turns.running, *self.turns.queued()]}
                    for writing in requests:
                        self.turns.cancel(writing)
                self._hand_out([(writing, Internal("The engine failed; see its log.")) for writing in requests])

    def _turn(self) -> None:
        """Wait for something to do, and do it."""
        with self._work:
            if self._held:
                self._work.wait_for(lambda: not self._held or self._stopping, MASK_SECONDS)
            asked = self._asked.popleft() if self._asked else None
            ended = self._end_paused()
            step = self.turns.next_step() if asked is None else None
            if asked is None and step is None and not ended:
                self._work.wait(1.0 if self.busy else None)
                return
        if asked is not None:
            asked()
        self._hand_out(ended)
        if step is not None:
            self._compute(step)

    def _compute(self, step: Step) -> None:
        started = time.perf_counter()
        try:
            step = self.decoder.arrange(step, _adapters(step))
            logits = self.decoder.step(step, _adapters(step))
            ending = [part.sequence for part in step.parts if part.ends]
            chosen = choose(logits, [_choice(s).chooser for s in ending]) if logits is not None else []
        except Exception as error:  # a step may fail; the engine may not
            log.exception("a step of %d tokens failed", step.tokens)
            self._fail(step, error if isinstance(error, EngineError) else Internal("The engine failed; see its log."))
            return
        seconds = time.perf_counter() - started
        told: list[Told] = []
        with self._work:
            self.turns.computed(step)
            self._count(step, seconds)
            for sequence, token in zip(ending, chosen, strict=True):
                if not sequence.finish:  # its caller may have left meanwhile
                    told += self._broken(sequence) if token is None else self._written(sequence, token)
        self._hand_out(told)

    def _count(self, step: Step, seconds: float) -> None:
        counters, now = self.counters, time.perf_counter()
        counters.steps += 1
        counters.read += 0 if step.writing else step.tokens
        for part in step.parts:
            writing = _writing(part.sequence)
            writing.compute_s += seconds * (part.end - part.begin) / step.tokens
            if writing.began is None and part.ends:
                writing.began = now
                counters.first_token.append(now - writing.arrived)

    def _written(self, sequence: Sequence, chosen: Chosen) -> list[Told]:
        """A token of a choice: what can be told of it now."""
        writing, choice = _writing(sequence), _choice(sequence)
        self.turns.write(sequence, chosen.token)
        self.counters.written += 1
        choice.tokens += 1
        if chosen.token in self.speech.voice.ends:
            return self._end(sequence, "stop")
        choice.text += choice.stream.add(self.speech.pieces[chosen.token])
        if chosen.logprob is not None:
            choice.reports.append(self._reported(chosen))
        if choice.stream.stopped:
            return self._end(sequence, "stop")
        if sequence.written >= sequence.most:
            return self._end(sequence, "length")
        if writing.last and not writing.left:
            return self._end(sequence, "budget")
        self._ask_grammar(sequence, chosen.token)
        if writing.message.stream and (choice.text or choice.tokens >= HELD_TOKENS):
            return [(writing, self._piece(sequence, ""))]
        return []

    def _ask_grammar(self, sequence: Sequence, token: int | None) -> None:
        """Hold a text until its grammar has said what may follow `token`."""
        choice = _choice(sequence)
        matcher = choice.matcher
        if matcher is None:
            return
        sequence.held = True
        self._held += 1

        def work() -> None:
            ended, error = False, None
            try:
                if token is not None:
                    matcher.take(token)
                ended = matcher.ended
                if not ended:
                    choice.chooser.allowed = matcher.allowed(self.decoder.vocabulary)
            except EngineError as refused:
                error = refused
            told: list[Told] = []
            with self._work:
                self._held -= 1
                sequence.held = False
                if not sequence.finish and not sequence.request.cancelled:
                    if error is not None:
                        told = self._give_up(_writing(sequence), error)
                    elif ended:
                        self.turns.drop(sequence, "stop")
                        told = self._last(sequence, "stop")
                self._work.notify_all()
            self._hand_out(told)

        self._grammars.submit(sequence.request.tenant, work)

    def _end(self, sequence: Sequence, finish: str) -> list[Told]:
        self.turns.end(sequence, finish)
        return self._last(sequence, finish)

    def _last(self, sequence: Sequence, finish: str) -> list[Told]:
        """The last piece of a choice, and of the request if it was the last choice."""
        writing, choice = _writing(sequence), _choice(sequence)
        choice.text += choice.stream.end()
        told: list[Told] = [(writing, self._piece(sequence, finish))]
        writing.open -= 1
        if not writing.open:
            self.counters.requests += 1
            self.counters.cached += writing.cached
            queued = (writing.began or time.perf_counter()) - writing.arrived
            told.append((
                writing,
                wire.Generated(
                    writing.message.id, len(writing.message.prompt), writing.cached, writing.used,
                    round(writing.compute_s * 1e6), round(queued * 1e6), writing.seed,
                ),
            ))  # fmt: skip
        return told

    def _piece(self, sequence: Sequence, finish: str) -> wire.Piece:
        message, choice = _writing(sequence).message, _choice(sequence)
        reports = choice.reports if message.sampling.logprobs is not None else None
        piece = wire.Piece(message.id, sequence.choice, choice.text, choice.tokens, finish, reports)
        choice.text, choice.tokens, choice.reports = "", 0, []
        return piece

    def _reported(self, chosen: Chosen) -> wire.TokenReport:
        def chance(token: int, logprob: float) -> wire.TokenChance:
            return wire.TokenChance(self.speech.token_text(token), logprob, self.speech.pieces[token])

        return wire.TokenReport(chance(chosen.token, chosen.logprob or 0.0), [chance(*pair) for pair in chosen.top])

    def _end_paused(self) -> list[Told]:
        """Texts that will be allowed no more, and those that waited too long for it."""
        told: list[Told] = []
        now = time.perf_counter()
        paused = self.turns.paused()
        for sequence in paused:
            writing = _writing(sequence)
            writing.paused = writing.paused or now
            if writing.last or now - writing.paused > PAUSE_SECONDS:
                self.turns.drop(sequence, "budget")
                told += self._last(sequence, "budget")
        for sequence in [*self.turns.running, *self.turns.queued()]:
            if sequence.request.left:
                _writing(sequence).paused = None
        return told

    def _broken(self, sequence: Sequence) -> list[Told]:
        """A text whose numbers are no longer finite ends alone, and leaves none of them in the cache."""
        log.error("a text of base %s gave numbers that are not finite", _writing(sequence).message.base)
        self.decoder.clear(sequence.table)
        return self._give_up(_writing(sequence), Internal("The model gave numbers that are not finite."))

    def _give_up(self, writing: Writing, error: EngineError) -> list[Told]:
        self.turns.cancel(writing)
        return [(writing, error)]

    def _fail(self, step: Step, error: EngineError) -> None:
        told: list[Told] = []
        with self._work:
            for writing in dict.fromkeys(_writing(part.sequence) for part in step.parts):
                told += self._give_up(writing, error)
        self._hand_out(told)

    def _hand_out(self, told: list[Told]) -> None:
        wanted = [
            (writing, event) for writing, event in told if not writing.cancelled or isinstance(event, EngineError)
        ]
        if not wanted:
            return

        def tell() -> None:
            for writing, event in wanted:
                writing.answer(event)

        self._deliver(tell)


def _writing(sequence: Sequence) -> Writing:
    """Only writings are ever submitted here."""
    return cast(Writing, sequence.request)


def _choice(sequence: Sequence) -> Choice:
    return _writing(sequence).choices[sequence.choice]


def _adapters(step: Step) -> list[Adapter | None]:
    return [cast("Adapter | None", part.sequence.request.adapter) for part in step.parts]
