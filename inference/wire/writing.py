"""Messages about texts that models write."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from inference.wire.base import Message


class Render(Message, tag="render", frozen=True, gc=False):
    """Turn plain prompts, or one chat, into tokens of a causal model, before anything is reserved or computed.

    `chat` is `{"messages": [...], "tools": [...] | null}` as on the OpenAI wire, contents already plain text; it goes
    through the base's chat template. Name a tenant's own `model` or a `base`.
    """

    id: int
    tenant: str
    model: str = ""
    base: str = ""
    prompts: list[str] = []
    chat: dict[str, Any] | None = None


class Rendered(Message, tag="rendered", frozen=True, gc=False):
    """Tokens of each prompt, and the longest context (prompt and output together) the model reads."""

    id: int
    prompts: list[list[int]]
    limit: int


class Grammar(msgspec.Struct, frozen=True, gc=False):
    """What the output must look like. `text`: a JSON schema, a regular expression, or nothing for `json`."""

    kind: Literal["json", "json_schema", "regex"]
    text: str = ""


class Sampling(msgspec.Struct, frozen=True, gc=False):
    """How tokens are chosen. `logprobs`: how many alternatives to report beside each token, None for none at all."""

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    stop: list[str] = []
    logprobs: int | None = None
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    bias: dict[int, float] = {}
    grammar: Grammar | None = None


class Generate(Message, tag="generate", frozen=True, gc=False):
    """Continue `prompt` (tokens from `render`) `choices` times. `Piece`s follow, then one `Generated`.

    At most `allowed` tokens are made, over all choices, until an `Allow` raises it; rows that have used it up wait for
    one. With `stream` pieces come as there is text, and after eight tokens without; else one per choice at its end.
    """

    id: int
    tenant: str
    prompt: list[int]
    sampling: Sampling
    allowed: int
    model: str = ""
    base: str = ""
    choices: int = 1
    stream: bool = False
    weight: int = 1
    trace: str = ""


class Allow(Message, tag="allow", frozen=True, gc=False):
    """Request `id` may make `tokens` tokens in all. `last`: there will be no more, so end with reason `budget` there.

    Has no answer of its own.
    """

    id: int
    tokens: int
    last: bool = False


class TokenChance(msgspec.Struct, frozen=True, gc=False):
    """A token that was chosen, or could have been. `raw` are its bytes, which may be part of a character."""

    token: str
    logprob: float
    raw: bytes


class TokenReport(msgspec.Struct, frozen=True, gc=False):
    """A chosen token and its likeliest alternatives, likeliest first."""

    chosen: TokenChance
    top: list[TokenChance] = []


class Piece(Message, tag="piece", frozen=True, gc=False):
    """More of a choice. `tokens` counts what it adds, even while its text is still held back (an unfinished character
    or the beginning of a stop). `finish` is set on the last piece: stop, length or budget."""

    id: int
    choice: int
    text: str
    tokens: int
    finish: str = ""
    logprobs: list[TokenReport] | None = None


class Generated(Message, tag="generated", frozen=True, gc=False):
    """All choices have ended. `cached_tokens` of the prompt were found in the cache; `output_tokens` is over all.

    `seed`: what would have the same tokens drawn again; None where what computes the base does not say.
    """

    id: int
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    compute_us: int
    queue_us: int
    seed: int | None = None
