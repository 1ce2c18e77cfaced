"""The bodies of chat and completions: every field of the wire is here, those that are refused as well."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import msgspec

from gateway.bodies import Body, Breakpoint, Name, Short

MAX_MESSAGES = 2048
MAX_PARTS = 256
MAX_TOOLS = 128
MAX_STOPS = 4
MAX_BIASES = 1024
MAX_STOP_CHARACTERS = 256
MAX_CHOICES = 64
"""Texts that one request may ask for: `n` times the number of prompts."""
MAX_OUTPUT = 131_072
MAX_PATTERN = 2_000

Penalty = Annotated[float, msgspec.Meta(ge=-2, le=2)]
Seed = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Output = Annotated[int, msgspec.Meta(ge=1, le=MAX_OUTPUT)]
Identifier = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]


class Text(Body, frozen=True, tag_field="type", tag="text"):
    """A part of text."""

    text: str
    prompt_cache_breakpoint: Breakpoint | None = None


class Refusal(Body, frozen=True, tag_field="type", tag="refusal"):
    """A part of an earlier answer that declined."""

    refusal: str


class ImageUrl(Body, frozen=True, tag_field="type", tag="image_url"):
    """Known, so that it can be refused in words."""

    image_url: Any = None
    prompt_cache_breakpoint: Any = None


class InputAudio(Body, frozen=True, tag_field="type", tag="input_audio"):
    """Known, so that it can be refused in words."""

    input_audio: Any = None
    prompt_cache_breakpoint: Any = None


class File(Body, frozen=True, tag_field="type", tag="file"):
    """Known, so that it can be refused in words."""

    file: Any = None
    prompt_cache_breakpoint: Any = None


Part = Text | Refusal | ImageUrl | InputAudio | File


class CalledFunction(Body, frozen=True):
    """What an earlier answer called. `arguments` is JSON as the model wrote it."""

    name: Name
    arguments: str


class ToolCall(Body, frozen=True):
    """A call in an earlier answer."""

    id: Name
    function: CalledFunction
    type: Literal["function"] = "function"


class Message(Body, frozen=True):
    """One message; which fields go with which role is judged in `messages`."""

    REFUSED: ClassVar[frozenset[str]] = frozenset({"audio", "function_call"})
    role: Literal["developer", "system", "user", "assistant", "tool", "function"]
    content: str | Annotated[list[Part], msgspec.Meta(max_length=MAX_PARTS)] | None = None
    name: Short | None = None
    tool_calls: Annotated[list[ToolCall], msgspec.Meta(max_length=MAX_TOOLS)] | None = None
    tool_call_id: Name | None = None
    refusal: str | None = None
    annotations: list[dict[str, Any]] | None = None
    audio: Any = None
    function_call: Any = None


class Function(Body, frozen=True):
    """A function the model may call; `parameters` is a JSON schema."""

    name: Identifier
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Body, frozen=True, tag_field="type", tag="function"):
    """A tool: functions are the only kind."""

    function: Function


class NamedFunction(Body, frozen=True):
    """Which function."""

    name: Identifier


class NamedTool(Body, frozen=True, tag_field="type", tag="function"):
    """The one tool that must be called."""

    function: NamedFunction


class PlainText(Body, frozen=True, tag_field="type", tag="text"):
    """Any text."""


class JsonObject(Body, frozen=True, tag_field="type", tag="json_object"):
    """Any JSON object."""


class JsonSchema(Body, frozen=True):
    """A schema with its name."""

    name: Identifier
    schema: dict[str, Any] | None = None
    description: str | None = None
    strict: bool | None = None


class JsonBySchema(Body, frozen=True, tag_field="type", tag="json_schema"):
    """JSON that a schema describes."""

    json_schema: JsonSchema


class StreamOptions(Body, frozen=True):
    """What a stream holds beside the text."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class Common(Body, frozen=True, kw_only=True):
    """Fields of both routes."""

    model: Name
    max_tokens: Output | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=MAX_CHOICES)] | None = None
    stop: str | Annotated[list[str], msgspec.Meta(max_length=MAX_STOPS)] | None = None
    seed: Seed | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    logit_bias: Annotated[dict[str, Any], msgspec.Meta(max_length=MAX_BIASES)] | None = None
    user: Short | None = None
    x_regex: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_PATTERN)] | None = None


REFUSED = {
    "audio": "This model writes text only. Leave 'audio' out.",
    "function_call": "'function_call' is the old form. Send 'tool_choice'.",
    "functions": "'functions' is the old form. Send 'tools'.",
    "moderation": "Nothing is moderated here. Leave 'moderation' out.",
    "prediction": "Predicted outputs are not offered. Leave 'prediction' out.",
    "reasoning_effort": "Models here have no levels of reasoning. Leave 'reasoning_effort' out.",
    "verbosity": "Models here have no levels of verbosity; say in a message how long the answer may be.",
    "web_search_options": "Nothing is searched on the web. Leave 'web_search_options' out.",
}
"""Fields of the wire that nothing here could honour, and what to do instead."""


class Chat(Common, frozen=True, kw_only=True):
    """POST /v1/chat/completions. Those of `REFUSED` are known, so that they can be refused in words."""

    REFUSED: ClassVar[frozenset[str]] = frozenset(REFUSED)
    messages: Annotated[list[Message], msgspec.Meta(min_length=1, max_length=MAX_MESSAGES)]
    max_completion_tokens: Output | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    response_format: PlainText | JsonObject | JsonBySchema | None = None
    tools: Annotated[list[Tool], msgspec.Meta(max_length=MAX_TOOLS)] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    metadata: dict[str, str] | None = None
    store: bool | None = None
    service_tier: str | None = None
    safety_identifier: Annotated[str, msgspec.Meta(max_length=128)] | None = None
    prompt_cache_key: Short | None = None
    prompt_cache_options: dict[str, Any] | None = None
    prompt_cache_retention: Short | None = None
    modalities: list[str] | None = None
    audio: Any = None
    function_call: Any = None
    functions: Any = None
    moderation: Any = None
    prediction: Any = None
    reasoning_effort: Any = None
    verbosity: Any = None
    web_search_options: Any = None


class Completions(Common, frozen=True, kw_only=True):
    """POST /v1/completions."""

    prompt: Any
    logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    echo: bool | None = None
    best_of: int | None = None
    suffix: str | None = None
