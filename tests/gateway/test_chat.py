"""Chat through the official client: whole, streamed, with tools, formats and logprobs."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.conftest import Person
from tests.gateway.writing_engine import WRITER, Wired, on_plan

pytestmark = pytest.mark.slow  # starts a server


@pytest.fixture(scope="module")
def ada(writing: Wired) -> Person:
    return on_plan("ada")


def says(word: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": word}]


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
