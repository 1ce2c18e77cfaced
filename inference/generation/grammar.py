"""Output that must be JSON, fit a JSON schema or match a regular expression: a mask over the vocabulary at every token.

The work is llguidance's (MIT), a Rust library with Earley parsing and a derivative-based lexer; masks take some tens of
microseconds. A grammar is compiled once and copied for each choice.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import OrderedDict
from functools import partial

import llguidance
import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from inference.errors import BadArtefact, BadGrammar
from inference.generation.fair_threads import FairThreads
from inference.wire import Grammar

KEPT = 256
MAX_GRAMMAR = 256 * 1024  # characters
SLOW_SECONDS = 0.25
"""What one token of a grammar may cost. Usual ones take less than a millisecond."""
COSTLY = "takes too long to check at every token. Make it smaller: fewer alternatives, less recursion."
LIMITS = llguidance.LLParserLimits(
    max_items_in_row=1000, step_max_items=20_000, step_lexer_fuel=100_000, initial_lexer_fuel=200_000
)
"""A list of 64 KiB needs a quarter of the initial fuel or so; `(a{1000}){1000}` would burn seconds of more."""
THREADS = FairThreads(2, "compile")
"""Apart from those that read prompts: whoever sends no grammar never waits for one."""


class Matcher:
    """Where one choice stands in its grammar."""

    def __init__(self, matcher: llguidance.LLMatcher) -> None:
        self._matcher = matcher

    def copy(self) -> Matcher:
        """Another one at the same place."""
        return Matcher(self._matcher.deep_copy())

    @property
    def ended(self) -> bool:
        """Whether nothing more may follow."""
        return bool(self._matcher.is_stopped())

    def allowed(self, vocabulary: int) -> NDArray[np.bool_]:
        """[vocabulary]: which tokens may follow. Raises `BadGrammar` where the grammar is too large or too slow."""
        started = time.perf_counter()
        mask = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        self._check(time.perf_counter() - started)
        bits = np.unpackbits(mask, bitorder="little")[:vocabulary].astype(bool)
        if len(bits) < vocabulary:  # rows of the weights beyond the tokenizer's vocabulary
            bits = np.pad(bits, (0, vocabulary - len(bits)))
        return bits

    def take(self, token: int) -> None:
        """A token was chosen. Raises as `allowed`."""
        started = time.perf_counter()
        self._matcher.consume_token(token)
        self._check(time.perf_counter() - started)

    def _check(self, seconds: float) -> None:
        if self._matcher.is_error():
            said = _first(self._matcher.get_error())
            if said.startswith("NoExtension"):
                raise BadGrammar("Nothing can be written that fits the output's schema or expression.")
            raise BadGrammar(f"The output's schema or expression {COSTLY} ({said})")
        if seconds > SLOW_SECONDS:
            raise BadGrammar(f"The output's schema or expression {COSTLY}")


class Grammars:
    """Grammars over one tokenizer. Thread-safe. Raises `BadArtefact` for one whose tokens are not made of bytes."""

    def __init__(self, tokenizer: Tokenizer, ends: list[int]) -> None:
        try:
            self._tokenizer = llguidance.LLTokenizer(tokenizer.to_str(), eos_token=ends)
        except ValueError as error:
            raise BadArtefact(
                f"The base's tokenizer does not say which bytes its tokens are: {_first(error)}"
            ) from error
        self._lock = threading.Lock()
        self._compiled: OrderedDict[tuple[str, str], llguidance.LLMatcher] = OrderedDict()

    def bytes_of(self, token: int) -> bytes:
        """What a token adds to the text."""
        return bytes(self._tokenizer.decode_bytes([token]))

    async def begin(self, line: str, grammar: Grammar) -> Matcher:
        """`compile`, when it is that organisation's turn."""
        return await asyncio.wrap_future(THREADS.submit(line, partial(self.compile, grammar)))

    def compile(self, grammar: Grammar) -> Matcher:
        """The start of a grammar; takes up to some seconds for large ones. Raises `BadGrammar` saying what is wrong."""
        key = (grammar.kind, grammar.text)
        with self._lock:
            compiled = self._compiled.get(key)
        if compiled is None:
            compiled = self._compile(grammar)
        with self._lock:
            self._compiled[key] = compiled
            self._compiled.move_to_end(key)
            while len(self._compiled) > KEPT:
                self._compiled.popitem(last=False)
            return Matcher(compiled.deep_copy())

    def _compile(self, grammar: Grammar) -> llguidance.LLMatcher:
        if len(grammar.text) > MAX_GRAMMAR:
            raise BadGrammar(f"A grammar of {len(grammar.text)} characters is over the limit of {MAX_GRAMMAR}.")
        what = "regular expression" if grammar.kind == "regex" else "JSON schema"
        try:
            if grammar.kind == "regex":
                text = llguidance.LLMatcher.grammar_from_regex(grammar.text)
            else:
                schema = {"type": "object"} if grammar.kind == "json" else json.loads(grammar.text)
                # Spaces where JSON allows any would let a small model write nothing else.
                text = llguidance.LLMatcher.grammar_from_json_schema(schema, overrides={"whitespace_flexible": False})
        except (ValueError, RecursionError) as error:
            raise BadGrammar(f"The {what} cannot be used: {_first(error)}") from error
        matcher = llguidance.LLMatcher(self._tokenizer, text, log_level=0, limits=LIMITS)
        if matcher.is_error():
            raise BadGrammar(f"The {what} cannot be used: {_first(matcher.get_error())}")
        Matcher(matcher.deep_copy()).allowed(self._tokenizer.vocab_size)  # refused here if its first token is costly
        return matcher


def _first(error: object) -> str:
    """The library's words in one line; it draws a picture of the place below them."""
    said = str(error).partition("<state>")[0]
    lines = [line.strip() for line in said.splitlines() if line.strip(" ^~|-")]
    return " ".join(lines)[:200] if lines else "it was not understood."
