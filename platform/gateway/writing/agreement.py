"""What is asked of a shadow of a model that writes, and what two answers have in common.

Two right answers seldom have the same words, so there are several measures, and none says which answer is right:

- **the same answer**: the same text, or the same JSON, and the same calls of tools. Where tokens are drawn, the
  candidate draws with the stable version's random numbers, so that what differs is the models' doing and not chance
  (common random numbers; Glasserman and Yao 1992);
- **words in common**, as F1 over all answers together: ROUGE-1 (Lin 2004), with a character of Chinese or Japanese for
  a word, as ROUGE is used on those (Hu, Chen and Zhu 2015). Order counts for nothing;
- **the same ending**, and how many tokens each wrote.

Of a call with several prompts or choices it is the first. Nobody pays, so the candidate may write twice what the stable
version wrote and `MORE` tokens, and no more: what is cut there runs on, and is different anyway.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from msgspec import structs

from gateway.agreement import Unaskable
from gateway.writing.tools import Called, Reader
from inference.background import standing
from inference.client import EngineClient
from inference.wire import Generated, Rendered, Sampling
from serving.requests import RequestNote
from serving.shadows import ShadowTally

if TYPE_CHECKING:
    from gateway.calls import Call
    from gateway.turns import Turns
    from gateway.writing.metered import MeteredCall
    from serving.routes import Route

MOST_BODY = 256 << 10
"""Bytes of a call that is kept until its shadow is asked."""
MOST_TEXT = 32 << 10
"""Characters of an answer that is compared."""
TIMES, MORE = 2, 64
_HAN = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORDS = re.compile(rf"[{_HAN}]|[^\W{_HAN}]+")


@dataclass(frozen=True, slots=True)
class Written:
    """An answer; of a candidate's also what it took."""

    text: str
    calls: tuple[Called, ...]
    finish: str
    tokens: int
    took: Generated | None = None

    @property
    def size(self) -> int:
        """Its characters."""
        return len(self.text) + sum(len(one.arguments) for one in self.calls)


@dataclass(frozen=True, slots=True)
class Prompt:
    """One answer to a chat, or one text after a prompt."""

    sampling: Sampling
    prompts: list[str]
    chat: dict[str, Any] | None
    reader: Callable[[], Reader]
    renders: Turns
    size: int

    @property
    def items(self) -> int:
        return 1

    async def ask(self, engine: EngineClient, **who: Any) -> Written:
        """Have it rendered, as the candidate's own base reads it, and written. Unaskable where that leaves no room."""
        tenant, model, weight = who["tenant"], who["model"], who["weight"]
        async with self.renders.turn(standing(tenant, weight).line, self.size):
            rendered: Rendered = await engine.render(tenant=tenant, model=model, prompts=self.prompts, chat=self.chat)
        (prompt,) = rendered.prompts
        most = min(self.sampling.max_tokens, rendered.limit - len(prompt))
        if most < 1:
            raise Unaskable
        generation = await engine.generate(
            tenant=tenant, prompt=prompt, sampling=structs.replace(self.sampling, max_tokens=most), allowed=most,
            model=model, weight=weight,
        )  # fmt: skip
        try:
            pieces = [piece async for piece in generation]
        finally:
            generation.close()
        return self._read(pieces[-1].finish, "".join(piece.text for piece in pieces), generation.result)

    def _read(self, finish: str, text: str, took: Generated | None) -> Written:
        reader = self.reader()
        begun, end = reader.feed(text)[0], reader.end()[0]
        ended = "tool_calls" if reader.calls and finish == "stop" else finish
        return Written(
            (begun + end)[: TIMES * MOST_TEXT], tuple(reader.calls), ended, took.output_tokens if took else 0, took
        )  # fmt: skip

    def read(self, route: Route, said: Written) -> Iterator[Written]:
        yield said

    def compare(self, tally: ShadowTally, mine: Written, theirs: Written) -> None:
        tally.add(_form(mine) == _form(theirs))
        here, there = _words(mine), _words(theirs)
        tally.parts += here.total() + there.total()
        tally.parts_agreed += 2 * (here & there).total()
        tally.endings_agreed += mine.finish == theirs.finish
        tally.stable_tokens += mine.tokens
        tally.candidate_tokens += theirs.tokens

    def note(self, note: RequestNote, said: Written) -> None:
        took = said.took
        if took is not None:
            note.input_tokens, note.output_tokens = took.prompt_tokens, took.output_tokens
            note.cached_tokens, note.engine_ms = took.cached_tokens, -(-took.compute_us // 1000)


def shadowed(
    call: Call,
    route: Route,
    writing: MeteredCall,
    said: Written,
    *,
    prompt: str | None = None,
    chat: dict[str, Any] | None = None,
    reader: Callable[[], Reader] = lambda: Reader(None),
) -> None:
    """Have the candidate of a shadow asked the same, behind an answer that was written to its end. What is too large to
    be kept, was ended by a limit of the caller's, or means something else to another base is counted as dropped."""
    split, share = call.shadow, writing.shares[0]
    if split is None or call.key.batch or not said.finish:
        return
    foreign = bool(share.sampling.bias) and route.base != split.candidate.base  # token numbers of another vocabulary
    if len(call.body) > MOST_BODY or said.size > MOST_TEXT or said.finish == "budget" or foreign:
        call.process.shadows.drop(split, call.key)
        return
    most = min(share.sampling.max_tokens, TIMES * said.tokens + MORE)
    sampling = structs.replace(share.sampling, max_tokens=most, seed=share.seed, logprobs=None)
    prompts = [] if prompt is None else [prompt]
    asked = Prompt(sampling, prompts, chat, reader, call.process.renders, len(call.body))
    call.process.shadows.offer(split, call.key, call.note.kind, route, asked, said)


def _form(said: Written) -> tuple[str, list[tuple[str, str]]]:
    """What has to be the same in the same answer."""
    return _normal(said.text), [(one.name, _normal(one.arguments)) for one in said.calls]


def _normal(text: str) -> str:
    """A JSON object or list in one spelling, whatever its spaces and the order of its keys; other text as it stands,
    without the space around it."""
    text = text.strip()
    if not text.startswith(("{", "[")):
        return text
    try:
        return json.dumps(json.loads(text), sort_keys=True)
    except (ValueError, RecursionError):
        return text


def _words(said: Written) -> Counter[str]:
    """Its words, those of its calls among them, each as often as it is there."""
    called = [part for one in said.calls for part in (one.name, one.arguments)]
    return Counter(_WORDS.findall(" ".join([said.text, *called]).casefold()))
