"""What a request wants of the writing, judged before anything runs: a field is honoured, or refused in words."""

from __future__ import annotations

from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any

from msgspec import structs

from gateway.errors import Unsupported
from gateway.writing import bodies
from gateway.writing.strict import text_of
from gateway.writing.tools import CLOSE, forced, offered
from inference.wire import Grammar, Sampling
from kit.errors import BadRequest

DEFAULT_OUTPUT = 4096
"""Tokens written at most where the client names no limit and the context leaves room for more."""
MAX_TOKEN_ID = 2**31 - 1
METADATA_PAIRS, METADATA_KEY, METADATA_VALUE = 16, 64, 512
_TIERS = ("auto", "default")
_unsupported = attrgetter(*bodies.REFUSED)
_NONE = (None,) * len(bodies.REFUSED)


@dataclass(frozen=True, slots=True)
class Wish:
    """What to write. `sampling.max_tokens` is what the client asked for, or what it is given who did not ask."""

    sampling: Sampling
    choices: int
    stream: bool
    usage: bool
    rule: str | None = None
    """The field that says what the output must be."""

    def within(self, room: int) -> Sampling:
        """The sampling where the context leaves `room` tokens for each text."""
        return self.sampling if self.sampling.max_tokens <= room else structs.replace(self.sampling, max_tokens=room)


def of_chat(body: bodies.Chat) -> Wish:
    """The wish of a chat. BadRequest names the field that cannot be honoured."""
    _refuse_unsupported(body)
    limits = {body.max_tokens, body.max_completion_tokens} - {None}
    if len(limits) > 1:
        raise BadRequest(
            "'max_tokens' is the old name of 'max_completion_tokens'; send one of them.", param="max_tokens"
        )
    if body.top_logprobs is not None and not body.logprobs:
        raise BadRequest("'top_logprobs' needs 'logprobs': true.", param="top_logprobs")
    reported = (body.top_logprobs or 0) if body.logprobs else None
    wish = _common(body, limits.pop() if limits else None, reported)
    if body.parallel_tool_calls is False and offered(body.tools, body.tool_choice):
        wish.sampling.stop.append(CLOSE)  # nobody pays for calls that would be dropped
    return _ruled(wish, *_rule(body))


def of_completions(body: bodies.Completions, prompts: int) -> Wish:
    """The wish of completions of that many prompts. BadRequest names the field that cannot be honoured."""
    if body.suffix:
        raise Unsupported("Text before a suffix cannot be written here. Leave 'suffix' out.", param="suffix")
    if body.best_of not in (None, body.n or 1):
        raise Unsupported(
            "'best_of' is not offered: every text that is written is answered and paid for. Send 'n' instead.",
            param="best_of",
        )
    if body.echo and body.logprobs is not None:
        raise BadRequest("Of an echoed prompt there are no logprobs. Leave 'echo' or 'logprobs' out.", param="echo")
    if prompts * (body.n or 1) > bodies.MAX_CHOICES:
        raise BadRequest(
            f"{prompts} prompts, each {body.n or 1} times, are more than the {bodies.MAX_CHOICES} texts of one "
            "request. Send fewer prompts, or a smaller 'n'.",
            param="prompt" if prompts > bodies.MAX_CHOICES else "n",
        )
    wish = _common(body, body.max_tokens, body.logprobs)
    return _ruled(wish, "x_regex", _regex(body))


def _ruled(wish: Wish, name: str | None, rule: Grammar | None) -> Wish:
    if rule is None:
        return wish
    return replace(wish, sampling=structs.replace(wish.sampling, grammar=rule), rule=name)


def _common(body: bodies.Common, tokens: int | None, reported: int | None) -> Wish:
    options = body.stream_options
    if options is not None and not body.stream:
        raise BadRequest("'stream_options' goes with 'stream': true.", param="stream_options")
    if options is not None and options.include_obfuscation:
        raise Unsupported(
            "Streams are not obfuscated here. Leave 'include_obfuscation' out.",
            param="stream_options.include_obfuscation",
        )
    sampling = Sampling(
        max_tokens=tokens or DEFAULT_OUTPUT,
        temperature=1.0 if body.temperature is None else body.temperature,
        top_p=1.0 if body.top_p is None else body.top_p,
        seed=body.seed,
        stop=_stops(body.stop),
        logprobs=reported,
        frequency_penalty=body.frequency_penalty or 0.0,
        presence_penalty=body.presence_penalty or 0.0,
        bias=_bias(body.logit_bias or {}),
    )
    usage = options is not None and bool(options.include_usage)
    return Wish(sampling, body.n or 1, bool(body.stream), usage)


def _stops(value: str | list[str] | None) -> list[str]:
    stops = [value] if isinstance(value, str) else list(value or ())
    for index, stop in enumerate(stops):
        param = "stop" if isinstance(value, str) else f"stop[{index}]"
        if not stop:
            raise BadRequest(f"'{param}' is empty. Name the text to stop at, or leave it out.", param=param)
        if len(stop) > bodies.MAX_STOP_CHARACTERS:
            raise BadRequest(f"'{param}' is longer than {bodies.MAX_STOP_CHARACTERS} characters.", param=param)
    return stops


def _bias(value: dict[str, Any]) -> dict[int, float]:
    found: dict[int, float] = {}
    for token, bias in value.items():
        param = f"logit_bias.{token[:40]}"
        whole = token.isascii() and token.isdigit() and len(token) <= 10
        if not whole or int(token) > MAX_TOKEN_ID:
            raise BadRequest(f"'{param}': the keys are token numbers of this model, such as \"50\".", param=param)
        if isinstance(bias, bool) or not isinstance(bias, (int, float)) or not -100 <= bias <= 100:
            raise BadRequest(f"'{param}' must be a number from -100 to 100.", param=param)
        found[int(token)] = float(bias)
    return found


def _refuse_unsupported(body: bodies.Chat) -> None:
    if _unsupported(body) != _NONE:
        for name, words in bodies.REFUSED.items():
            if getattr(body, name) is not None:
                raise Unsupported(words, param=name)
    if body.store:
        raise Unsupported("Completions are not stored here. Leave 'store' out, or send false.", param="store")
    if body.modalities not in (None, ["text"]):
        raise Unsupported(
            "This model writes text only. Send [\"text\"], or leave 'modalities' out.", param="modalities"
        )
    if body.service_tier not in (None, *_TIERS):
        raise Unsupported(
            "There is one tier of service. Send 'auto' or 'default', or leave it out.", param="service_tier"
        )
    pairs = body.metadata or {}
    if len(pairs) > METADATA_PAIRS:
        raise BadRequest(f"'metadata' holds {len(pairs)} pairs; at most {METADATA_PAIRS}.", param="metadata")
    for key, value in pairs.items():
        if len(key) > METADATA_KEY or len(value) > METADATA_VALUE:
            raise BadRequest(
                f"In 'metadata' a key has at most {METADATA_KEY} characters, a value {METADATA_VALUE}.",
                param=f"metadata.{key[:METADATA_KEY]}",
            )


def _regex(body: bodies.Common) -> Grammar | None:
    return Grammar("regex", body.x_regex) if body.x_regex else None


def _rule(body: bodies.Chat) -> tuple[str | None, Grammar | None]:
    """One rule for the output at most, and its field: a regular expression, a format, or the form of a call that must
    be made."""
    if body.x_regex is None and body.response_format is None and body.tool_choice is None and not body.tools:
        return None, None  # most calls
    found = {
        "x_regex": _regex(body),
        "response_format": _response_format(body),
        "tool_choice": forced(body.tools or [], body.tool_choice),
    }
    rules = {name: rule for name, rule in found.items() if rule is not None}
    if len(rules) > 1:
        names = list(rules)
        raise BadRequest(f"'{names[0]}' and '{names[1]}' contradict each other. Send one of them.", param=names[0])
    if rules and body.tools and body.tool_choice in (None, "auto"):
        name = next(iter(rules))
        raise BadRequest(
            f"With '{name}' the model has no way to call a tool. Leave it out, or set 'tool_choice' to 'none'.",
            param=name,
        )
    return next(iter(rules.items()), (None, None))


def _response_format(body: bodies.Chat) -> Grammar | None:
    wanted = body.response_format
    if isinstance(wanted, bodies.JsonObject):
        return Grammar("json")
    if not isinstance(wanted, bodies.JsonBySchema):
        return None
    param = "response_format.json_schema.schema"
    if wanted.json_schema.schema is None:
        raise BadRequest(f"'{param}' is missing. Send the schema, or the type 'json_object'.", param=param)
    return Grammar("json_schema", text_of(wanted.json_schema.schema, param))
