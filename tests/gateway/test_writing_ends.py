"""How a call that writes ends: engines that fail, clients that wait or stall, models that come and go."""

from __future__ import annotations

import json
import socket
import time
from typing import Any
from urllib.parse import urlsplit

import openai
import pytest
from django.conf import settings

from billing.quotas import QuotaStore
from gateway.writing import events as events_module
from gateway.writing import metered
from serving.models import Deployment
from serving.routes import announce
from serving.services import deployment_stop
from tenants.scope import tenant_scope
from tests.conftest import Person
from tests.console.things import made_deployment
from tests.gateway.writing_calls import event_of, lines_of, only, streaming
from tests.gateway.writing_engine import CHAT, WRITER, Wired, alive, on_plan, says, until

pytestmark = pytest.mark.slow  # starts a server


@pytest.fixture(scope="module")
def ada(writing: Wired) -> Person:
    return on_plan("ada")


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
    monkeypatch.setattr(metered, "LIFE_MS", 1200)
    monkeypatch.setattr(metered, "RENEW_SECONDS", 0.05)
    word = writing.word()
    plan = writing.engine.plan(word, "a", "b", hold_after=1)
    store = QuotaStore(settings.REDIS_URL)
    with streaming(writing, ada, {"messages": says(word)}) as raw:
        until(lambda: only(writing, word).made == 1)
        over = time.monotonic() + 1.8
        while time.monotonic() < over:
            assert store.due(ada.tenant.id) == []
            time.sleep(0.05)
        plan.go.set()
        assert list(lines_of(raw))[-1] == "data: [DONE]"
    store.close()
    assert event_of(writing, ada, raw.headers["x-request-id"]).output_tokens == 2


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


def test_who_leaves_while_the_model_is_brought_in_pays_nothing(writing: Wired, ada: Person) -> None:
    name, row = tuned(writing, ada)
    writing.engine.stuck.add(row.version_id.hex)
    before = len(writing.events(ada))
    with pytest.raises(openai.APITimeoutError):
        writing.client(ada, timeout=1.0).chat.completions.create(model=name, messages=says(writing.word()))
    until(lambda: writing.engine.loaded and writing.engine.loaded[-1].model == row.version_id.hex)
    until(lambda: alive(ada) == 0)
    assert len(writing.events(ada)) == before


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


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("rule", "field"),
    [
        ({"x_regex": "(a{1000}){1000}"}, "x_regex"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"tools": [{"type": "function", "function": {"name": "look"}}], "tool_choice": "required"}, "tool_choice"),
    ],
)
def test_a_rule_that_the_engine_cannot_keep_to_is_refused_by_the_field_that_holds_it(
    writing: Wired, ada: Person, rule: dict[str, Any], field: str, stream: bool
) -> None:
    word = writing.word()
    writing.engine.plan(word, fail_after=0, error=("bad_grammar", "The output's schema or expression is too much."))
    before = len(writing.events(ada))
    raw = writing.post(CHAT, {"model": WRITER, "messages": says(word), "stream": stream} | rule, ada.key)
    assert (raw.status_code, raw.json()["error"]["param"]) == (400, field), raw.content
    until(lambda: alive(ada) == 0)
    assert len(writing.events(ada)) == before


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
