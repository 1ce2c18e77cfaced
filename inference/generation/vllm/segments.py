"""What the server is asked for the next part of a text. Pure Python.

A server writes up to a number of tokens and cannot be held on the way, so a text is written in segments: each one as
long as what is allowed, begun with the prompt and everything written so far (which its prefix cache holds). What the
server counts from the beginning of a request is carried over here:

- **penalties** on tokens of earlier segments go into the biases. One for presence counts once, so a segment ends where
  a token of an earlier one comes again: from there on the server's own count would be twice.
- **a seed** is made anew for each segment from the seed asked for, the choice and the place in the text. So that the
  places are the same each time, a text with a seed is cut at every `CUT` tokens.
- **a grammar** would begin again. So what it allows next is asked of our own matcher, a token at a time, in the texts
  that outgrow their first segment.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from inference.generation.grammar import Matcher
from inference.wire import Grammar, Sampling

CUT = 32
QUANTUM = 256
"""Tokens that a text writes before others have their turn."""
COLD = 1e-4  # temperatures below are the likeliest token, as in `choosing`


def longest(sampling: Sampling, written: int) -> int:
    """How long the next segment of a text may be, whatever is allowed."""
    left = sampling.max_tokens - written
    if sampling.grammar is not None:
        return 1 if written else left
    if is_cut(sampling):
        return min(left, CUT - written % CUT)
    return min(left, QUANTUM)


def is_cut(sampling: Sampling) -> bool:
    """Whether a text is cut at the same places each time, because a seed is to mean the same."""
    return sampling.seed is not None and sampling.temperature >= COLD and sampling.grammar is None


def body(
    sampling: Sampling, prompt: list[int], written: list[int], *, tokens: int, choice: int, ends: Sequence[int],
    mask: Matcher | None, vocabulary: int,
) -> dict[str, Any]:  # fmt: skip
    """The request for up to `tokens` more. `mask` is where its grammar stands, in later segments."""
    asked: dict[str, Any] = {
        "prompt": prompt + written, "max_tokens": tokens, "temperature": _temperature(sampling),
        "top_p": sampling.top_p, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0,
        "frequency_penalty": sampling.frequency_penalty, "presence_penalty": sampling.presence_penalty,
        "ignore_eos": True, "stop_token_ids": list(ends), "return_token_ids": True, "stream": True,
        "stream_options": {"include_usage": True}, "stop": sampling.stop,
    }  # fmt: skip
    if sampling.seed is not None:
        asked["seed"] = seed_at(sampling.seed, choice, len(written))
    if sampling.logprobs is not None:
        asked |= {"logprobs": sampling.logprobs, "return_tokens_as_token_ids": True}
    counts = Counter(written) if sampling.frequency_penalty or sampling.presence_penalty else Counter()
    if counts and sampling.presence_penalty:
        asked["stop_token_ids"] += [token for token in counts if token not in ends]
    bias = dict(sampling.bias)
    for token, times in counts.items():
        bias[token] = bias.get(token, 0.0) - times * sampling.frequency_penalty - sampling.presence_penalty
    if mask is not None:
        _forbid(asked, bias, mask, vocabulary)
    elif sampling.grammar is not None:
        asked["structured_outputs"] = _structured(sampling.grammar)
    if bias:
        asked["logit_bias"] = {str(token): value for token, value in bias.items()}
    return asked


def seed_at(seed: int, choice: int, place: int) -> int:
    """The server's seed for a segment that begins at a place of a text."""
    digest = hashlib.sha256(f"{seed}/{choice}/{place}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def _structured(grammar: Grammar) -> dict[str, Any]:
    """A grammar that was compiled here, for the same library there. Spaces as `generation.grammar` has them."""
    if grammar.kind == "regex":
        return {"regex": grammar.text}
    schema = {"type": "object"} if grammar.kind == "json" else json.loads(grammar.text)
    if isinstance(schema, dict):
        said = schema.get("x-guidance")
        schema |= {"x-guidance": (said if isinstance(said, dict) else {}) | {"whitespace_flexible": False}}
    return {"json": json.dumps(schema)}


def _temperature(sampling: Sampling) -> float:
    return 0.0 if sampling.temperature < COLD else sampling.temperature


def _forbid(asked: dict[str, Any], bias: dict[int, float], mask: Matcher, vocabulary: int) -> None:
    """Only what the grammar allows next."""
    may = mask.allowed(vocabulary)
    asked["allowed_token_ids"] = may.nonzero()[0].tolist()
    for token in [token for token in bias if not may[token]]:
        del bias[token]
