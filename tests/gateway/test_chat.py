"""Chat through the official client: whole, streamed, with tools, formats and logprobs."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import openai
import pydantic
import pytest

from inference import wire
from tests.conftest import Person
from tests.contracts.conformance import answer_schema, body_schema, differences
from tests.gateway.writing_engine import WRITER, Wired, on_plan, says

pytestmark = pytest.mark.slow  # starts a server


@pytest.fixture(scope="module")
def ada(writing: Wired) -> Person:
    return on_plan("ada")


def test_an_answer_is_written_metered_and_priced(writing: Wired, ada: Person) -> None:
    word = writing.word()
    writing.engine.plan(word, "Hel", "lo", " there")
    answered = writing.client(ada).chat.completions.with_raw_response.create(
        model=WRITER, messages=[{"role": "developer", "content": "Be kind."}, {"role": "user", "content": word}]
    )
    answer = answered.parse()
    choice = answer.choices[0]
    prompt = len(f"<system>Be kind.\n<user>{word}\n")
    assert (choice.message.role, choice.message.content, choice.finish_reason) == ("assistant", "Hello there", "stop")
    assert answer.object == "chat.completion" and answer.id.startswith("chatcmpl-")
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (prompt, 3)
    event = writing.events(ada)[-1]
    assert (event.kind, event.input_tokens, event.output_tokens, event.model) == ("chat", prompt, 3, WRITER)
    assert event.cost_nano == prompt * 100 + 3 * 400
    assert answered.headers["x-cost-usd"] == f"0.{event.cost_nano:09d}"
    assert answered.headers["x-request-id"] == event.request_id
    assert int(answered.headers["x-ratelimit-remaining-tokens"]) > 0


def test_a_stream_comes_in_pieces_with_usage_and_cost_at_its_end(writing: Wired, ada: Person) -> None:
    word = writing.word()
    writing.engine.plan(word, "one", " two", " three")
    response = writing.client(ada).chat.completions.with_streaming_response.create(
        model=WRITER, messages=says(word), stream=True, stream_options={"include_usage": True}
    )
    with response as raw:
        assert raw.headers["content-type"].startswith("text/event-stream")
        assert raw.headers["cache-control"] == "no-cache"
        assert raw.headers["x-request-id"].startswith("req_")
        assert "x-ratelimit-remaining-tokens" in raw.headers
        lines = [line for line in raw.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": "one"}
    assert [chunk["choices"][0]["delta"].get("content") for chunk in chunks[:-2]] == ["one", " two", " three"]
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["choices"] == []
    event = writing.events(ada)[-1]
    assert chunks[-1]["usage"]["completion_tokens"] == event.output_tokens == 3
    assert chunks[-1]["usage"]["x_cost_usd"] == pytest.approx(event.cost_nano / 1e9)


def test_the_asynchronous_client_streams_many_at_once(writing: Wired, ada: Person) -> None:
    word = writing.word()
    writing.engine.plan(word, *"abcdef")

    async def main() -> list[str]:
        async with writing.async_client(ada) as client:

            async def one() -> str:
                stream = await client.chat.completions.create(model=WRITER, messages=says(word), stream=True)
                return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

            return await asyncio.gather(*(one() for _ in range(5)))

    assert asyncio.run(main()) == ["abcdef"] * 5


def test_hints_for_a_cache_and_notes_of_an_earlier_answer_are_taken_and_change_nothing(
    writing: Wired, ada: Person
) -> None:
    word = writing.word()
    writing.engine.plan(word, "a", "b")
    client = writing.client(ada)
    plain: list[Any] = [{"role": "assistant", "content": "x"}, {"role": "user", "content": word}]
    part = {"type": "text", "text": word, "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "12h"}}
    noted: list[Any] = [
        {"role": "assistant", "content": "x", "annotations": [{"type": "url_citation"}]},
        {"role": "user", "content": [part]},
    ]
    options: Any = {"mode": "explicit", "ttl": "30m"}
    client.chat.completions.create(model=WRITER, messages=plain, seed=1)
    client.chat.completions.create(
        model=WRITER, messages=noted, seed=1, prompt_cache_options=options, prompt_cache_retention="24h"
    )
    without, hinted = writing.engine.of(word)
    assert (without.message.prompt, without.message.sampling) == (hinted.message.prompt, hinted.message.sampling)


def test_every_wish_reaches_the_engine(writing: Wired, ada: Person) -> None:
    word = writing.word()
    writing.engine.plan(word, "a", "b", "c")
    answer = writing.client(ada).chat.completions.create(
        model=WRITER, messages=says(word), max_completion_tokens=2, temperature=0.3, top_p=0.9, n=3, stop=["x", "yz"],
        seed=-7, frequency_penalty=0.5, presence_penalty=-1, logit_bias={"65": -100, "66": 3}, logprobs=True,
        top_logprobs=2, metadata={"team": "blue"}, user="u", service_tier="auto", store=False, safety_identifier="s",
        prompt_cache_key="k", modalities=["text"], response_format={"type": "text"},
    )  # fmt: skip
    (asked,) = writing.engine.of(word)
    wanted = wire.Sampling(
        max_tokens=2, temperature=0.3, top_p=0.9, seed=-7, stop=["x", "yz"], logprobs=2, frequency_penalty=0.5,
        presence_penalty=-1, bias={65: -100.0, 66: 3.0},
    )  # fmt: skip
    assert asked.message.sampling == wanted
    assert (asked.message.choices, asked.message.base, asked.message.model) == (3, WRITER, "")
    assert [(one.message.content, one.finish_reason) for one in answer.choices] == [("ab", "length")] * 3
    assert answer.usage is not None and answer.usage.completion_tokens == 6
    assert answer.metadata == {"team": "blue"}
    logprobs = answer.choices[1].logprobs
    assert logprobs is not None and logprobs.content is not None
    assert [(one.token, one.logprob, one.bytes) for one in logprobs.content] == [
        ("a", -9999.0, [97]),
        ("b", -0.5, [98]),
    ]
    assert len(logprobs.content[1].top_logprobs) == 2


def test_a_conversation_reaches_the_template_as_plain_text(writing: Wired, ada: Person) -> None:
    word = writing.word()
    writing.engine.plan(word, "ok")
    call = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    sent = [
        {"role": "system", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "user", "content": word, "name": "Ada"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "42"},
        {"role": "function", "name": "old", "content": "43"},
        {"role": "assistant", "refusal": "No.", "content": None},
        {"role": "user", "content": ""},
    ]
    writing.client(ada).chat.completions.create(model=WRITER, messages=sent)
    assert writing.engine.rendered[-1].chat == {
        "messages": [
            {"role": "system", "content": "a\nb"},
            {"role": "user", "content": word, "name": "Ada"},
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "content": "42", "tool_call_id": "call_1"},
            {"role": "tool", "content": "43", "name": "old"},
            {"role": "assistant", "content": "No."},
            {"role": "user", "content": ""},
        ],
        "tools": None,
    }


def test_a_strict_function_is_called_with_what_fits_or_not_at_all(writing: Wired, ada: Person) -> None:
    fits, not_so = writing.word(), writing.word()
    writing.engine.plan(fits, '{"name": "Colour", "arguments": {"name": "red", "dark": true}}')
    writing.engine.plan(not_so, '{"name": "Colour", "arguments": {"name": "red", "dark": "a bit"}}')
    client, tool = writing.client(ada), openai.pydantic_function_tool(Colour)
    parsed = client.chat.completions.parse(model=WRITER, messages=says(fits), tools=[tool])
    (call,) = parsed.choices[0].message.tool_calls or ()
    assert call.function.parsed_arguments == Colour(name="red", dark=True)
    text = client.chat.completions.parse(model=WRITER, messages=says(not_so), tools=[tool]).choices[0]
    assert (text.finish_reason, text.message.tool_calls) == ("stop", None)
    assert text.message.content is not None and "a bit" in text.message.content


class Colour(pydantic.BaseModel):
    """What the official client turns into a schema and back."""

    name: str
    dark: bool


def test_formats_become_rules_for_the_output(writing: Wired, ada: Person) -> None:
    word = writing.word()
    writing.engine.plan(word, '{"name": "red",', ' "dark": false}')
    client = writing.client(ada)
    parsed = client.chat.completions.parse(model=WRITER, messages=says(word), response_format=Colour)
    assert parsed.choices[0].message.parsed == Colour(name="red", dark=False)
    client.chat.completions.create(model=WRITER, messages=says(word), response_format={"type": "json_object"})
    client.chat.completions.create(model=WRITER, messages=says(word), extra_body={"x_regex": "(yes|no)"})
    rules = [asked.message.sampling.grammar for asked in writing.engine.of(word)]
    assert rules[0] is not None and rules[0].kind == "json_schema"
    assert json.loads(rules[0].text)["properties"]["dark"]["type"] == "boolean"
    assert rules[1:] == [wire.Grammar("json"), wire.Grammar("regex", "(yes|no)")]


LOOK = {
    "type": "function",
    "function": {"name": "look", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}


def test_calls_of_tools_are_read_out_of_the_text(writing: Wired, ada: Person) -> None:
    word = writing.word()
    text = 'Let me see.\n<tool_call>\n{"name": "look", "arguments": {"city": "Rome"}}\n</tool_call>'
    writing.engine.plan(word, *text, "\n<tool_call>", '{"name": "look", "arguments": {}}', "</tool_call>")
    client = writing.client(ada)
    answer = client.chat.completions.create(model=WRITER, messages=says(word), tools=[LOOK])
    choice = answer.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "Let me see.\n"
    assert [json.loads(one.function.arguments) for one in choice.message.tool_calls] == [{"city": "Rome"}, {}]
    assert writing.engine.rendered[-1].chat["tools"] == [LOOK]
    stream = client.chat.completions.stream(model=WRITER, messages=says(word), tools=[LOOK])
    with stream as events:
        streamed = events.get_final_completion().choices[0]
    assert streamed.finish_reason == "tool_calls"
    assert streamed.message.content == "Let me see.\n"
    calls = streamed.message.tool_calls
    assert calls is not None
    assert [(one.function.name, json.loads(one.function.arguments)) for one in calls] == [
        ("look", {"city": "Rome"}), ("look", {}),
    ]  # fmt: skip
    assert len({one.id for one in calls}) == 2
    one = client.chat.completions.create(model=WRITER, messages=says(word), tools=[LOOK], parallel_tool_calls=False)
    assert len(one.choices[0].message.tool_calls) == 1
    assert writing.engine.of(word)[-1].message.sampling.stop == ["</tool_call>"]


def test_a_call_that_must_be_made_is_held_to_its_schema(writing: Wired, ada: Person) -> None:
    word = writing.word()
    writing.engine.plan(word, '{"name": "look",', ' "arguments": {"city": "Bonn"}}')
    for choice in ("required", {"type": "function", "function": {"name": "look"}}):
        answer = writing.client(ada).chat.completions.create(
            model=WRITER, messages=says(word), tools=[LOOK | {"function": LOOK["function"] | {"strict": True}}],
            tool_choice=choice,
        )  # fmt: skip
        (call,) = answer.choices[0].message.tool_calls
        assert (call.function.name, json.loads(call.function.arguments)) == ("look", {"city": "Bonn"})
        rule = writing.engine.of(word)[-1].message.sampling.grammar
        assert rule is not None and json.loads(rule.text)["properties"]["name"] == {"enum": ["look"]}
    none = writing.client(ada).chat.completions.create(
        model=WRITER, messages=says(word), tools=[LOOK], tool_choice="none"
    )
    assert none.choices[0].message.tool_calls is None
    assert none.choices[0].message.content.startswith('{"name"')


def test_answers_and_bodies_are_as_the_reference_says(writing: Wired, ada: Person) -> None:
    word = writing.word()
    writing.engine.plan(word, '<tool_call>{"name": "look", "arguments": {}}</tool_call>')
    for path, body in (
        ("/v1/chat/completions", {"messages": says(word), "logprobs": True, "top_logprobs": 1, "metadata": {"a": "b"}}),
        ("/v1/chat/completions", {"messages": says(word), "tools": [LOOK], "stop": "x"}),
        ("/v1/completions", {"prompt": [word, word], "logprobs": 1, "seed": 5}),
    ):
        full = {"model": WRITER, **body}
        assert differences(body_schema("POST", path, "application/json"), full) == []
        answer = writing.post(path, full, ada.key)
        assert answer.status_code == 200, answer.text
        assert differences(answer_schema("POST", path, 200), answer.json()) == []


def test_models_are_called_for_what_they_can(writing: Wired, ada: Person) -> None:
    client = writing.client(ada)
    for refused in (
        writing.post("/v1/classify", {"model": WRITER, "input": "x"}, ada.key),
        writing.post("/v1/embeddings", {"model": WRITER, "input": "x"}, ada.key),
        writing.post("/v1/decisions", {"model": WRITER, "input": "x", "questions": [{"type": "choice"}]}, ada.key),
    ):
        assert refused.status_code == 400
        assert "POST /v1/chat/completions" in refused.json()["error"]["message"]
    with pytest.raises(openai.BadRequestError, match=f"is a base: it reads text.*that write text: {WRITER}"):
        client.chat.completions.create(model="all-MiniLM-L6-v2", messages=says("x"))
    with pytest.raises(openai.NotFoundError, match=f"that write text: {WRITER}"):
        client.completions.create(model="gpt-9", prompt="x")
