"""What chat refuses, and in which words: wishes it cannot honour, bodies in a wrong form, prompts that are too long."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from kit import strict_json
from tests.conftest import Person
from tests.gateway.writing_engine import CONTEXT, WRITER, Wired, on_plan, says

pytestmark = pytest.mark.slow  # starts a server


@pytest.fixture(scope="module")
def ada(writing: Wired) -> Person:
    return on_plan("ada")


def tool(parameters: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "look", "parameters": parameters} | more}


LOOK = tool({"type": "object", "properties": {"city": {"type": "string"}}})
MANY = 100_000
LARGE = {"properties": {"a": {"enum": [1] * 30_000}}}
REFUSED: list[tuple[dict[str, Any], str | None, str]] = [
    ({"messages": []}, "messages", "length >= 1"),
    ({"messages": [{"role": "user", "content": "x"}] * MANY}, "messages", "2048"),
    ({"messages": "hi"}, "messages", "a list"),
    ({"messages": [{"role": "wizard", "content": "x"}]}, "messages[0].role", "wizard"),
    ({"messages": [{"role": "user"}]}, "messages[0].content", "missing"),
    ({"messages": [{"role": "assistant", "content": None}]}, "messages[0].content", "missing"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content", "Expected"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id", "missing"),
    ({"messages": [{"role": "user", "content": "x", "tool_calls": []}]}, "messages[0].tool_calls", "assistant only"),
    ({"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}] * MANY}]}, "messages[0].content", "256"),
    ({"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": [
        {"type": "text", "text": "b"}, {"type": "image_url", "image_url": {"url": "https://example.com"}}]}]},
     "messages[1].content[1]", "text only"),
    ({"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]},
     "messages[0].content[0]", "text only"),
    ({"messages": [{"role": "user", "content": [{"type": "file", "file": {}, "prompt_cache_breakpoint": {}}]}]},
     "messages[0].content[0]", "text only"),
    ({"messages": [{"role": "assistant", "content": "x", "audio": {"id": "x"}}]}, "messages[0].audio", "text only"),
    ({"messages": [{"role": "assistant", "content": "x", "function_call": {}}]}, "messages[0].function_call",
     "old form"),
    ({"messages": [{"role": "user", "content": "template refuses"}]}, "messages", "refuses these roles"),
    ({"max_tokens": 0}, "max_tokens", ">= 1"),
    ({"max_tokens": 10**9}, "max_tokens", "131072"),
    ({"max_tokens": 1e9}, "max_tokens", "a whole number"),
    ({"max_tokens": 5, "max_completion_tokens": 6}, "max_tokens", "one of them"),
    ({"n": 0}, "n", ">= 1"),
    ({"n": 1000}, "n", "64"),
    ({"temperature": 2.5}, "temperature", "<= 2"),
    ({"temperature": "hot"}, "temperature", "a number"),
    ({"temperature": True}, "temperature", "a number"),
    ({"top_p": 0}, "top_p", "> 0"),
    ({"frequency_penalty": 3}, "frequency_penalty", "<= 2"),
    ({"presence_penalty": -3}, "presence_penalty", ">= -2"),
    ({"seed": 2**63}, "seed", "<="),
    ({"stop": ["a"] * 5}, "stop", "<= 4"),
    ({"stop": ["a"] * 10_000}, "stop", "<= 4"),
    ({"stop": ""}, "stop", "empty"),
    ({"stop": ["a", ""]}, "stop[1]", "empty"),
    ({"stop": "s" * 300}, "stop", "256 characters"),
    ({"logit_bias": {"abc": 1}}, "logit_bias.abc", "token numbers"),
    ({"logit_bias": {"-1": 1}}, "logit_bias.-1", "token numbers"),
    ({"logit_bias": {"²": 1}}, "logit_bias.²", "token numbers"),
    ({"logit_bias": {"65": 101}}, "logit_bias.65", "-100 to 100"),
    ({"logit_bias": {"65": True}}, "logit_bias.65", "-100 to 100"),
    ({"logit_bias": {str(i): 1 for i in range(MANY)}}, "logit_bias", "length <= 1024"),
    ({"logit_bias": {str(i): 1 for i in range(1025)}}, "logit_bias", "length <= 1024"),
    ({"logit_bias": {"999": 1}}, None, "no token 999"),
    ({"top_logprobs": 3}, "top_logprobs", "'logprobs': true"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "20"),
    ({"stream_options": {"include_usage": True}}, "stream_options", "'stream': true"),
    ({"stream": True, "stream_options": {"include_obfuscation": True}}, "stream_options.include_obfuscation",
     "not obfuscated"),
    ({"response_format": {"type": "xml"}}, "response_format.type", "xml"),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "a"}}},
     "response_format.json_schema.schema", "missing"),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "a b", "schema": {}}}},
     "response_format.json_schema.name", "regex"),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"d": "x" * 70_000}}}},
     "response_format.json_schema.schema", "64 KiB"),
    ({"response_format": {"type": "json_object"}, "x_regex": "a"}, "x_regex", "contradict"),
    ({"response_format": {"type": "json_object"}, "tools": [LOOK]}, "response_format", "no way to call"),
    ({"tools": [tool(LARGE)], "tool_choice": "required"}, "tools", "64 KiB"),
    ({"tools": [tool(LARGE, strict=True)]}, "tools[0].function.parameters", "64 KiB"),
    ({"x_regex": ""}, "x_regex", ">= 1"),
    ({"x_regex": "a" * 2001}, "x_regex", "2000"),
    ({"tools": [{"type": "function", "function": {"name": "a"}}] * MANY}, "tools", "128"),
    ({"tools": [LOOK] * 2}, "tools", "twice"),
    ({"tools": [{"type": "custom", "custom": {}}]}, "tools[0].type", "custom"),
    ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name", "regex"),
    ({"tools": [{"type": "function", "function": {"name": "a", "strict": True, "parameters": {"pattern": "(a+)+$"}}}]},
     "tools[0].function.parameters.pattern", "'required'"),
    ({"tool_choice": "required"}, "tool_choice", "needs 'tools'"),
    ({"tools": [LOOK], "tool_choice": {"type": "function", "function": {"name": "b"}}}, "tool_choice", "'b'"),
    ({"metadata": {str(i): "x" for i in range(17)}}, "metadata", "at most 16"),
    ({"metadata": {"a": "x" * 513}}, "metadata.a", "512"),
    ({"metadata": {"a": 5}}, "metadata[...]", "a string"),
    ({"store": True}, "store", "not stored"),
    ({"service_tier": "flex"}, "service_tier", "one tier"),
    ({"modalities": ["text", "audio"]}, "modalities", "text only"),
    ({"audio": {"voice": "x"}}, "audio", "text only"),
    ({"functions": [{"name": "x"}]}, "functions", "'tools'"),
    ({"function_call": "auto"}, "function_call", "'tool_choice'"),
    ({"prediction": {"type": "content"}}, "prediction", "not offered"),
    ({"reasoning_effort": "high"}, "reasoning_effort", "no levels"),
    ({"verbosity": "low"}, "verbosity", "no levels"),
    ({"web_search_options": {}}, "web_search_options", "searched"),
    ({"moderation": {}}, "moderation", "moderated"),
    ({"user": "u" * 300}, "user", "256"),
    ({"colour": "red"}, "colour", "Unknown field"),
    ({"stream_options": {"usage": True}}, "stream_options.usage", "It takes include_obfuscation, include_usage."),
    ({"messages": [{"role": "user", "content": [{"type": "text", "txt": "x"}]}]}, "messages[0].content[0].txt",
     "It takes prompt_cache_breakpoint, text, type."),
    ({"messages": [{"role": "user", "contents": "x"}]}, "messages[0].contents", "It takes annotations, content, name,"),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "a", "shema": {}}}},
     "response_format.json_schema.shema", "It takes description, name, schema, strict."),
    ({"model": 7}, "model", "a string"),
]  # fmt: skip


UNSUPPORTED = {
    "stream_options.include_obfuscation", "store", "service_tier", "modalities", "audio", "functions", "function_call",
    "prediction", "reasoning_effort", "verbosity", "web_search_options", "moderation",
    "messages[0].audio", "messages[0].function_call", "messages[1].content[1]", "messages[0].content[0]",
}  # fmt: skip
"""What the wire knows and nothing here could honour, which a client may tell from a slip by its code."""


@pytest.mark.parametrize(
    ("changes", "param", "words"), REFUSED, ids=[f"{p}-{i}" for i, (_, p, _) in enumerate(REFUSED)]
)
def test_what_cannot_be_honoured_is_refused_by_name(
    writing: Wired, ada: Person, changes: dict[str, Any], param: str | None, words: str
) -> None:
    before, asked = len(writing.events(ada)), len(writing.engine.asked)
    answer = writing.post("/v1/chat/completions", {"model": WRITER, "messages": says("hi")} | changes, ada.key)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["param"] == param
    assert words in error["message"]
    assert error["code"] == ("unsupported_parameter" if param in UNSUPPORTED else None)
    assert len(writing.events(ada)) == before, "what is refused costs nothing"
    by_engine = param is None  # only an engine knows its tokens
    assert len(writing.engine.asked) == asked + by_engine, "an engine was asked for what cannot be honoured"


NUMBERS = {str(number): 1 for number in range(MANY)}


@pytest.mark.parametrize(
    ("path", "field", "many"),
    [
        ("/v1/chat/completions", "logit_bias", NUMBERS),
        ("/v1/completions", "logit_bias", NUMBERS),
        ("/v1/chat/completions", "messages", says("x") * MANY),
        ("/v1/chat/completions", "tools", [{"type": "function", "function": {"name": "a"}}] * MANY),
        ("/v1/completions", "stop", ["x"] * MANY),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_too_many_of_anything_are_refused_by_their_number_before_each_is_read(
    writing: Wired, ada: Person, monkeypatch: pytest.MonkeyPatch, path: str, field: str, many: Any
) -> None:
    """A hundred thousand keys held the gateway's only thread for 150 ms while each was read."""
    monkeypatch.setattr(strict_json, "loads", lambda raw: pytest.fail("it was read"))
    before = len(writing.engine.asked), len(writing.engine.rendered)
    plain = {"prompt": "hi"} if path == "/v1/completions" else {"messages": says("hi")}
    answer = writing.post(path, {"model": WRITER} | plain | {field: many}, ada.key)
    assert answer.status_code == 400 and answer.json()["error"]["param"] == field, answer.text
    assert "length <= " in answer.json()["error"]["message"]
    assert before == (len(writing.engine.asked), len(writing.engine.rendered)), "no engine heard of it"


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"[]", b'"x"', b"\xff\xfe", '{"model": "é"}'.encode("latin-1"), '{"model": "m"}'.encode("utf-16"),
        b'\x1f\x8b\x08', b'{"model": "m", "messages": [{"role": "user", "content": "\\ud800"}]}',
        b'{"model": "m", "messages": [{"role": "user", "content": "a\\u0000"}]}', b'{"model": "m", "temperature": NaN}',
        b'{"model": "m", "messages": [], "messages": []}', b'{"a":' * 5000 + b"1" + b"}" * 5000,
    ],
)  # fmt: skip
def test_bodies_in_a_wrong_form_or_encoding_are_refused(writing: Wired, ada: Person, raw: bytes) -> None:
    for path in ("/v1/chat/completions", "/v1/completions"):
        answer = writing.post(path, raw, ada.key)
        assert answer.status_code == 400, answer.text
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_a_prompt_over_the_context_is_refused_with_counts_and_one_near_it_is_cut(writing: Wired, ada: Person) -> None:
    client = writing.client(ada)
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model=WRITER, messages=says("x" * 5000))
    assert refused.value.code == "context_length_exceeded"
    assert refused.value.param == "messages"
    assert f"{CONTEXT:,} tokens" in refused.value.message and "5,007 tokens" in refused.value.message
    word = writing.word()
    text = word + "y" * (CONTEXT - 5 - len(f"<user>{word}\n"))
    answer = client.chat.completions.create(model=WRITER, messages=says(text), max_tokens=100)
    assert (answer.choices[0].finish_reason, answer.usage.completion_tokens) == ("length", 5)


def test_a_schema_the_engine_cannot_hold_to_is_a_plain_400_even_for_a_stream(writing: Wired, ada: Person) -> None:
    word = writing.word()
    writing.engine.plan(word, fail_after=0, error=("bad_request", "The pattern is too complex."))
    schema = {"type": "string", "pattern": "(a+)+$"}
    wanted = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    with pytest.raises(openai.BadRequestError, match="too complex"):
        writing.client(ada).chat.completions.create(
            model=WRITER, messages=says(word), stream=True, response_format=wanted
        )
