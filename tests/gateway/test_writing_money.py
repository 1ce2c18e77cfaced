"""What a call that writes may cost: never more than was reserved, exactly what was made, whatever ends it."""

from __future__ import annotations

import asyncio
import json
import resource
from typing import Any

import httpx2
import openai
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from billing.metering import SpoolError, SpoolWriter
from billing.quotas import QuotaGate, QuotaUnavailable
from billing.services.entitlements import override_set
from gateway.writing import metered
from kit import redis
from tenants.scope import tenant_scope
from tests.conftest import Person
from tests.gateway.writing_calls import event_of, lines_of, only, streaming
from tests.gateway.writing_engine import CHAT, WRITER, Wired, alive, key_with, on_plan, prompt_of, says, until

pytestmark = pytest.mark.slow  # starts a server

READ, WRITTEN = 100, 400
"""Nano-USD for a token."""
LEAVES = 1.0
"""Seconds after which a client leaves; until then the engine was asked on a busy machine as well."""


@pytest.fixture(scope="module")
def ada(writing: Wired) -> Person:
    return on_plan("ada")


def test_a_long_answer_is_reserved_a_little_at_a_time(writing: Wired, ada: Person) -> None:
    word = writing.word()
    plan = writing.engine.plan(word, hold_after=100)
    with streaming(writing, ada, {"messages": says(word), "max_tokens": 1000}) as raw:
        asked = only(writing, word)
        until(lambda: asked.made == 100)
        assert asked.allowed == metered.CHUNK
        plan.go.set()
        last = list(lines_of(raw))[-2]
    assert json.loads(last[6:])["choices"][0]["finish_reason"] == "length"
    event = event_of(writing, ada, raw.headers["x-request-id"])
    assert event.output_tokens == asked.made == asked.allowed == 1000


def test_a_rate_limit_ends_an_answer_exactly_at_what_it_carries(writing: Wired, ada: Person) -> None:
    word = writing.word()
    writing.engine.plan(word)
    key = key_with(ada, tokens_per_minute=prompt_of(word) + 300)
    answer = writing.client(key).chat.completions.create(model=WRITER, messages=says(word), max_tokens=2000)
    asked = only(writing, word)
    assert answer.choices[0].finish_reason == "budget"
    assert answer.usage is not None
    assert asked.last and answer.usage.completion_tokens == asked.made == asked.allowed
    assert metered.CHUNK + 32 <= asked.made < 2000


def test_a_small_limit_is_usable_with_fewer_tokens_at_a_time(writing: Wired, ada: Person) -> None:
    word = writing.word()
    writing.engine.plan(word, *"abc")
    client = writing.client(key_with(ada, tokens_per_minute=prompt_of(word) + 70))
    answer = client.chat.completions.create(model=WRITER, messages=says(word))
    assert answer.choices[0].finish_reason == "stop"
    assert only(writing, word).message.allowed == 70, "to the last token"
    with pytest.raises(openai.RateLimitError, match="larger than the limit") as refused:
        client.chat.completions.create(model=WRITER, messages=says(word + "x" * 60))
    assert refused.value.response.headers["x-should-retry"] == "false"


def test_a_spend_limit_is_never_overshot_and_then_refuses(writing: Wired, ada: Person) -> None:
    word = writing.word()
    writing.engine.plan(word)
    cap = prompt_of(word) * READ + 300 * WRITTEN
    key = key_with(ada, monthly_spend_nano=cap)
    answered = writing.client(key).chat.completions.with_raw_response.create(
        model=WRITER, messages=says(word), max_tokens=2000
    )
    answer = answered.parse()
    assert answer.choices[0].finish_reason == "budget"
    event = event_of(writing, ada, answered.headers["x-request-id"])
    assert event.output_tokens == only(writing, word).made
    assert cap - metered.LEAST * WRITTEN < event.cost_nano <= cap
    with pytest.raises(openai.APIStatusError, match="spend limit of your API key") as refused:
        writing.client(key).chat.completions.create(model=WRITER, messages=says(word))
    assert refused.value.status_code == 402
    assert len(writing.engine.of(word)) == 1, "what is refused never reaches the engine"


def test_a_little_to_spare_is_no_reason_to_wait(writing: Wired, ada: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 17 tokens each of two texts gets 8, and one is to spare; the engine tells of 8 at a time."""
    monkeypatch.setattr(metered, "LEAST", 1)
    monkeypatch.setattr(metered, "CHUNK", 17)
    word = writing.word()
    writing.engine.plan(word, together=metered.UNTOLD)
    client = writing.client(ada, timeout=10)
    answer = client.completions.create(model=WRITER, prompt=[word, word + "again"], max_tokens=40)
    assert [choice.finish_reason for choice in answer.choices] == ["length"] * 2
    assert answer.usage is not None and answer.usage.completion_tokens == 80


def test_a_long_answer_fetches_the_money_it_may_have(writing: Wired, ada: Person) -> None:
    word = writing.word()
    writing.engine.plan(word)
    key = key_with(ada, monthly_spend_nano=prompt_of(word) * READ + 2000 * WRITTEN)
    answer = writing.client(key).chat.completions.create(model=WRITER, messages=says(word), max_tokens=1800)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None and answer.usage.completion_tokens == 1800


def test_without_a_quota_server_nothing_more_is_written(
    writing: Wired, ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any, **__: Any) -> bool:
        raise QuotaUnavailable("away")

    monkeypatch.setattr(QuotaGate, "extend_by", away)
    word = writing.word()
    writing.engine.plan(word)
    answer = writing.client(ada).chat.completions.create(model=WRITER, messages=says(word))
    assert answer.choices[0].finish_reason == "budget"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == only(writing, word).made == metered.CHUNK


def test_what_cannot_be_written_down_is_not_given_away(
    writing: Wired, ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise SpoolError("the disk is full")

    monkeypatch.setattr(SpoolWriter, "append", full)
    word = writing.word()
    writing.engine.plan(word, "a")
    client = writing.client(ada)
    with pytest.raises(openai.InternalServerError, match="could not be recorded"):
        client.chat.completions.create(model=WRITER, messages=says(word))
    with pytest.raises(openai.APIError, match="could not be recorded"):
        list(client.chat.completions.create(model=WRITER, messages=says(word), stream=True))
    until(lambda: alive(ada) == 0)


def test_who_leaves_a_stream_pays_for_what_was_made_and_stops_it(writing: Wired, ada: Person) -> None:
    word = writing.word()
    writing.engine.plan(word, hold_after=7)
    with streaming(writing, ada, {"messages": says(word)}) as raw:
        lines = lines_of(raw)
        for _ in range(7):
            next(lines)
    asked = only(writing, word)
    until(lambda: asked.cancelled)
    event = event_of(writing, ada, raw.headers["x-request-id"])
    assert event.output_tokens == asked.made == 7
    assert event.cost_nano == prompt_of(word) * READ + 7 * WRITTEN


@pytest.mark.parametrize("stream", [False, True])
def test_who_leaves_before_anything_is_written_pays_for_the_prompt(writing: Wired, ada: Person, stream: bool) -> None:
    word = writing.word()
    writing.engine.plan(word, hold_after=0)
    before = len(writing.events(ada))
    with pytest.raises(openai.APITimeoutError):
        writing.client(ada, timeout=LEAVES).chat.completions.create(model=WRITER, messages=says(word), stream=stream)
    asked = only(writing, word)
    until(lambda: asked.cancelled)
    until(lambda: alive(ada) == 0)
    (event,) = writing.events(ada)[before:]
    assert (event.input_tokens, event.output_tokens) == (prompt_of(word), 0)
    assert event.cost_nano == prompt_of(word) * READ


def test_who_leaves_a_whole_answer_pays_for_what_was_made(writing: Wired, ada: Person) -> None:
    word = writing.word()
    writing.engine.plan(word, hold_after=5)
    before = len(writing.events(ada))
    with pytest.raises(openai.APITimeoutError):
        writing.client(ada, timeout=LEAVES).chat.completions.create(model=WRITER, messages=says(word))
    until(lambda: len(writing.events(ada)) > before)
    assert writing.events(ada)[-1].output_tokens == only(writing, word).made == 5


def test_of_a_thousand_calls_at_once_only_as_many_run_as_the_limit_says(writing: Wired, ada: Person) -> None:
    """Chats, streams and completions count against one limit; a neighbour is answered all the while."""
    cap, calls = 10, 1000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)  # both ends of every connection are in this process
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 3 * calls) if hard < 0 else hard, hard))
    word, other = writing.word(), writing.word()
    plan = writing.engine.plan(word, "a", hold_after=0)
    writing.engine.plan(other, "b")
    bea = on_plan("bea")
    with tenant_scope(bea.tenant.id):
        override_set(limits={"concurrency": cap}, reason="a test", created_by="test")
    before, writing.engine.most_at_once = writing.engine.at_once, 0
    chat = {"model": WRITER, "messages": says(word)}
    ways = (CHAT, chat), (CHAT, chat | {"stream": True}), ("/v1/completions", {"model": WRITER, "prompt": word})

    async def main() -> tuple[list[int], list[int]]:
        limits, refused = httpx2.Limits(max_connections=calls + 1), 0
        async with httpx2.AsyncClient(base_url=writing.url, timeout=120, limits=limits) as client:

            async def one(number: int) -> int:
                nonlocal refused
                path, body = ways[number % len(ways)]
                answer = await client.post(path, json=body, headers={"authorization": f"Bearer {bea.key}"})
                if answer.status_code != 200:
                    assert int(answer.headers["retry-after"]) >= 1 and answer.headers["x-request-id"]
                    assert answer.json()["error"]["code"] == "rate_limit_exceeded"
                    assert "10 calls running at once" in answer.json()["error"]["message"]
                    refused += 1
                return answer.status_code

            async def neighbour() -> list[int]:
                """One call after the other until all others are refused, and some while the ten still run."""
                body, statuses, left = {"model": WRITER, "messages": says(other)}, [], 5
                while left:
                    left -= refused == calls - cap
                    answer = await client.post(CHAT, json=body, headers={"authorization": f"Bearer {ada.key}"})
                    statuses.append(answer.status_code)
                plan.go.set()
                return statuses

            return await asyncio.gather(asyncio.gather(*map(one, range(calls))), neighbour())

    statuses, beside = asyncio.run(main())
    assert (statuses.count(200), statuses.count(429)) == (cap, calls - cap)
    assert set(beside) == {200}, "nobody else is in the way"
    assert writing.engine.most_at_once - before <= cap + 1
    assert len(writing.engine.of(word)) == cap, "of what was refused no engine heard"
    until(lambda: alive(bea) == 0)
    assert not redis.client().zcard(f"q:{{{bea.tenant.id.hex}}}:deadlines:t:c"), "every place is free again"


@hypothesis_settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    tokens=st.integers(1, 700),
    choices=st.integers(1, 3),
    limit=st.none() | st.integers(3 * metered.LEAST, 900),
    money=st.none() | st.integers(3 * metered.LEAST, 900),
    end=st.sampled_from(["itself", "the client", "the engine"]),
    at=st.integers(1, 400),
)
def test_what_is_settled_is_what_was_made_and_never_more_than_reserved(
    writing: Wired, ada: Person, tokens: int, choices: int, limit: int | None, money: int | None, end: str, at: int
) -> None:
    word = writing.word()
    writing.engine.plan(
        word,
        *["x"] * tokens,
        fail_after=at if end == "the engine" else None,
        hold_after=at if end == "the client" else None,
    )
    limits = {}
    if limit is not None:
        limits["tokens_per_minute"] = prompt_of(word) + limit
    if money is not None:
        limits["monthly_spend_nano"] = prompt_of(word) * READ + money * WRITTEN
    body = {"messages": says(word), "n": choices, "max_tokens": 500}
    seen = 0
    with streaming(writing, ada, body, key_with(ada, **limits) if limits else None) as raw:
        assert raw.status_code == 200, raw.read()
        asked = only(writing, word)
        for line in lines_of(raw):
            if line.startswith("data: {") and (found := json.loads(line[6:])).get("choices"):
                seen += bool(found["choices"][0]["delta"].get("content"))
            if end == "the client" and seen == at:
                break
    event = event_of(writing, ada, raw.headers["x-request-id"])
    assert event.output_tokens == asked.made == seen
    assert asked.made <= asked.allowed
    assert event.cost_nano == prompt_of(word) * READ + asked.made * WRITTEN
    if money is not None:
        assert event.cost_nano <= limits["monthly_spend_nano"]
    until(lambda: alive(ada) == 0)
