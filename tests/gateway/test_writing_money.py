"""What a call that writes may cost: never more than was reserved, exactly what was made, whatever ends it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from typing import Any
from urllib.parse import urlsplit

import httpx2
import openai
import pytest
from django.conf import settings
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from billing.metering import SpoolError, SpoolWriter
from billing.metering.events import UsageEvent
from billing.quotas import QuotaGate, QuotaStore, QuotaUnavailable
from billing.services.entitlements import override_set
from gateway.writing import events as events_module
from gateway.writing import metered
from serving.models import Deployment
from serving.routes import announce
from serving.services import deployment_stop
from tenants.scope import tenant_scope
from tenants.services.keys import key_create
from tests.conftest import Person
from tests.console.things import made_deployment
from tests.gateway.writing_engine import WRITER, Asked, Wired, on_plan, until

pytestmark = pytest.mark.slow  # starts a server

CHAT = "/v1/chat/completions"
READ, WRITTEN = 100, 400
"""Nano-USD for a token."""


@pytest.fixture(scope="module")
def ada(writing: Wired) -> Person:
    return on_plan("ada")


def key_with(person: Person, **limits: int) -> str:
    with tenant_scope(person.tenant.id):
        return key_create(project=person.project, name="limited", limits=limits)[1]


def says(word: str) -> Any:
    return [{"role": "user", "content": word}]


def prompt_of(word: str) -> int:
    return len(f"<user>{word}\n")


def event_of(writing: Wired, person: Person, request_id: str) -> UsageEvent:
    found: list[UsageEvent] = []

    def there() -> bool:
        found[:] = [event for event in writing.events(person) if event.request_id == request_id]
        return bool(found)

    until(there)
    (event,) = found
    return event


def lines_of(raw: httpx2.Response) -> Any:
    return (line for line in raw.iter_lines() if line)


@contextlib.contextmanager
def streaming(writing: Wired, person: Person, body: dict[str, Any], key: str | None = None) -> Any:
    """A stream whose connection is the test's to leave."""
    headers = {"authorization": f"Bearer {key or person.key}"}
    with httpx2.Client(timeout=30) as client:
        whole = {"model": WRITER, "stream": True} | body
        with client.stream("POST", writing.url + CHAT, json=whole, headers=headers) as raw:
            yield raw


def only(writing: Wired, word: str) -> Asked:
    until(lambda: writing.engine.of(word))
    (asked,) = writing.engine.of(word)
    return asked


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
    assert only(writing, word).message.allowed == 64
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

    monkeypatch.setattr(QuotaGate, "extend", away)
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
    until(lambda: asked.cancelled, seconds=1.0)
    event = event_of(writing, ada, raw.headers["x-request-id"])
    assert event.output_tokens == asked.made == 7
    assert event.cost_nano == prompt_of(word) * READ + 7 * WRITTEN


def test_who_leaves_before_anything_is_written_pays_nothing(writing: Wired, ada: Person) -> None:
    word = writing.word()
    writing.engine.plan(word, hold_after=0)
    before = len(writing.events(ada))
    with pytest.raises(openai.APITimeoutError):
        writing.client(ada, timeout=0.5).chat.completions.create(model=WRITER, messages=says(word))
    asked = only(writing, word)
    until(lambda: asked.cancelled, seconds=1.0)
    until(lambda: alive(ada) == 0)
    assert len(writing.events(ada)) == before


def test_who_leaves_a_whole_answer_pays_for_what_was_made(writing: Wired, ada: Person) -> None:
    word = writing.word()
    writing.engine.plan(word, hold_after=5)
    before = len(writing.events(ada))
    with pytest.raises(openai.APITimeoutError):
        writing.client(ada, timeout=0.5).chat.completions.create(model=WRITER, messages=says(word))
    until(lambda: len(writing.events(ada)) > before)
    assert writing.events(ada)[-1].output_tokens == only(writing, word).made == 5


def alive(person: Person) -> int:
    """Reservations that a tenant holds."""
    from kit import redis

    return int(redis.client().hlen(f"q:{{{person.tenant.id.hex}}}:records"))


def test_an_engine_that_fails_before_the_first_token_costs_nothing(writing: Wired, ada: Person) -> None:
    word = writing.word()
    writing.engine.plan(word, fail_after=0)
    before = len(writing.events(ada))
    for stream in (False, True):
        with pytest.raises(openai.InternalServerError) as failed:
            writing.client(ada).chat.completions.create(model=WRITER, messages=says(word), stream=stream)
        assert failed.value.status_code == 503
        assert failed.value.response.headers["retry-after"] == "1"
    until(lambda: alive(ada) == 0)
    assert len(writing.events(ada)) == before


def test_an_engine_that_fails_on_the_way_ends_a_stream_with_words_and_the_bill_so_far(
    writing: Wired, ada: Person
) -> None:
    word = writing.word()
    writing.engine.plan(word, fail_after=3)
    with streaming(writing, ada, {"messages": says(word)}) as raw:
        lines = list(lines_of(raw))
        settled = [event for event in writing.events(ada) if event.request_id == raw.headers["x-request-id"]]
    assert [event.output_tokens for event in settled] == [3], "written down before the last bytes left"
    assert "[DONE]" not in lines[-1]
    assert set(json.loads(lines[-1][6:])["error"]) == {"message", "type", "param", "code"}
    before = len(writing.events(ada))
    with pytest.raises(openai.APIError, match="does not answer"):
        list(writing.client(ada).chat.completions.create(model=WRITER, messages=says(word), stream=True))
    assert len(writing.events(ada)) == before + 1
    with pytest.raises(openai.InternalServerError):
        writing.client(ada).chat.completions.create(model=WRITER, messages=says(word))
    assert len(writing.events(ada)) == before + 1, "half an answer that nobody got costs nothing"


def test_who_waits_for_the_first_token_is_kept_awake(
    writing: Wired, ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events_module, "PING_SECONDS", 0.05)
    word, failing = writing.word(), writing.word()
    plan = writing.engine.plan(word, "late", hold_after=0)
    with streaming(writing, ada, {"messages": says(word)}) as raw:
        lines = lines_of(raw)
        assert [next(lines), next(lines)] == [": ping"] * 2
        plan.go.set()
        rest = [line for line in lines if line != ": ping"]
    assert json.loads(rest[0][6:])["choices"][0]["delta"]["content"] == "late"
    assert rest[-1] == "data: [DONE]"
    plan = writing.engine.plan(failing, hold_after=0)
    with streaming(writing, ada, {"messages": says(failing)}) as raw:
        lines = lines_of(raw)
        assert next(lines) == ": ping"
        plan.fail(0)
        (rest,) = [line for line in lines if line != ": ping"]
    assert json.loads(rest[6:])["error"]["type"] == "server_error"


def test_a_reader_who_takes_nothing_is_given_up_and_pays_for_what_was_made(
    writing: Wired, ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events_module, "SLOW_SECONDS", 0.3)
    word = writing.word()
    writing.engine.plan(word, *["x" * 50_000] * 400)
    body = json.dumps({"model": WRITER, "messages": says(word), "stream": True, "max_tokens": 400}).encode()
    head = (
        f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {ada.key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    before = len(writing.events(ada))
    where = urlsplit(writing.url)
    with socket.socket() as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.connect((where.hostname, where.port))
        peer.sendall(head.encode() + body)
        until(lambda: len(writing.events(ada)) > before)
        asked = only(writing, word)
        until(lambda: asked.cancelled)
        assert writing.events(ada)[-1].output_tokens == asked.made
        assert asked.made <= asked.allowed < 400, "nothing is made ahead of a reader but what was reserved"


def test_a_call_longer_than_a_reservations_life_keeps_it(
    writing: Wired, ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metered, "LIFE_MS", 400)
    monkeypatch.setattr(metered, "RENEW_SECONDS", 0.05)
    word = writing.word()
    plan = writing.engine.plan(word, "a", "b", hold_after=1)
    store = QuotaStore(settings.REDIS_URL)
    with streaming(writing, ada, {"messages": says(word)}) as raw:
        until(lambda: only(writing, word).made == 1)
        over = time.monotonic() + 1.0
        while time.monotonic() < over:
            assert store.due(ada.tenant.id) == []
            time.sleep(0.05)
        plan.go.set()
        assert list(lines_of(raw))[-1] == "data: [DONE]"
    store.close()
    assert event_of(writing, ada, raw.headers["x-request-id"]).output_tokens == 2


def test_of_many_calls_at_once_only_as_many_run_as_the_limit_says(writing: Wired, ada: Person) -> None:
    cap, calls = 10, 200
    word = writing.word()
    plan = writing.engine.plan(word, "a", hold_after=0)
    bea = on_plan("bea")
    with tenant_scope(bea.tenant.id):
        override_set(limits={"concurrency": cap}, reason="a test", created_by="test")
    warm = writing.post(CHAT, {"model": WRITER, "messages": says("x")}, bea.key)  # so many cold look-ups were refused
    assert warm.status_code == 200
    before, writing.engine.most_at_once = writing.engine.at_once, 0

    async def main() -> list[int]:
        limits, headers = httpx2.Limits(max_connections=calls), {"authorization": f"Bearer {bea.key}"}
        refused = 0
        async with httpx2.AsyncClient(timeout=60, limits=limits) as client:

            async def one() -> int:
                nonlocal refused
                body = {"model": WRITER, "messages": says(word)}
                answer = await client.post(writing.url + CHAT, json=body, headers=headers)
                if answer.status_code != 200:
                    assert int(answer.headers["retry-after"]) >= 1
                    refused += 1
                if refused == calls - cap:
                    others = await asyncio.to_thread(
                        writing.post, CHAT, {"model": WRITER, "messages": says("x")}, ada.key
                    )
                    assert others.status_code == 200, "nobody else is in the way"
                    plan.go.set()
                return answer.status_code

            return await asyncio.gather(*(one() for _ in range(calls)))

    statuses = asyncio.run(main())
    assert (statuses.count(200), statuses.count(429)) == (cap, calls - cap)
    assert writing.engine.most_at_once - before == cap + 1


def tuned(writing: Wired, person: Person) -> tuple[str, Deployment]:
    """A deployed model that writes."""
    row = made_deployment(person)
    with tenant_scope(person.tenant.id):
        found = Deployment.objects.select_related("model", "version").get(pk=row.pk)
        type(found.model).objects.filter(pk=found.model_id).update(task="text-generation")
    announce(person.project.id)
    body = {"model": found.model.name, "input": "x"}
    until(lambda: "writes text" in writing.post("/v1/classify", body, person.key).text)
    return found.model.name, found


def test_a_tuned_model_that_the_engine_forgot_is_brought_back(writing: Wired, ada: Person) -> None:
    name, row = tuned(writing, ada)
    word = writing.word()
    writing.engine.plan(word, "back")
    writing.engine.missing.add(row.version_id.hex)
    answer = writing.client(ada).chat.completions.create(model=name, messages=says(word))
    assert answer.choices[0].message.content == "back"
    assert answer.model == name
    assert writing.engine.loaded[-1].model == only(writing, word).message.model == row.version_id.hex


def test_a_foreign_model_is_the_same_404_as_none(writing: Wired, ada: Person) -> None:
    name, _ = tuned(writing, ada)
    eve = on_plan("eve")
    bodies = set()
    for asked in (name, "ft:tiny-writer:nobody:x:1", f"{ada.tenant.slug}/{name}", "../../etc/passwd", "a/../b"):
        answer = writing.post(CHAT, {"model": asked, "messages": says("x")}, eve.key)
        assert answer.status_code == 404
        bodies.add(answer.text.replace(asked, ""))
    assert len(bodies) == 1


def test_a_model_that_is_stopped_mid_stream_finishes_or_says_so(writing: Wired, ada: Person) -> None:
    name, row = tuned(writing, ada)
    finishing, gone = writing.word(), writing.word()
    plan = writing.engine.plan(finishing, "a", "b", hold_after=1)
    other = writing.engine.plan(gone, "a", "b", hold_after=1, error=("not_resident", "Gone."))
    with (
        streaming(writing, ada, {"model": name, "messages": says(finishing)}) as first,
        streaming(writing, ada, {"model": name, "messages": says(gone)}) as second,
    ):
        until(lambda: only(writing, finishing).made == only(writing, gone).made == 1)
        with tenant_scope(ada.tenant.id):
            deployment_stop(deployment=row)
        until(lambda: writing.post(CHAT, {"model": name, "messages": says("x")}, ada.key).status_code == 404)
        plan.go.set()
        assert list(lines_of(first))[-1] == "data: [DONE]"
        other.fail(1)
        last = json.loads(list(lines_of(second))[-1][6:])
    assert "no longer served" in last["error"]["message"]
    assert event_of(writing, ada, first.headers["x-request-id"]).output_tokens == 2
    assert event_of(writing, ada, second.headers["x-request-id"]).output_tokens == 1


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
