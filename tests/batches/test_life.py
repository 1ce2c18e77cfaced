"""The whole life of a batch, as the official client and a worker see it."""

from __future__ import annotations

import json
import time
from typing import Any
from urllib.parse import urlencode

import openai
import pytest
from pytest_django.live_server_helper import LiveServer

from batches.models import Segment
from batches.worker import duty
from hooks.models import Event
from kit import storage
from tenants.scope import tenant_scope
from tests.batches.making import READ, WRITTEN, chat, check_books, client, events, made, read, row, text_of
from tests.conftest import Person
from tests.gateway.writing_engine import CHAT, WRITER, Wired, on_plan, prompt_of

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("worker")]  # starts servers


@pytest.fixture(scope="module")
def ada(writing: Wired) -> Person:
    return on_plan("ada")


def test_a_batch_is_checked_answered_and_read_back(server: LiveServer, writing: Wired, ada: Person) -> None:
    official, words = client(server, ada), [writing.word() for _ in range(5)]
    for word in words:
        writing.engine.plan(word, "yes", f" {word}")
    batch = made(official, [chat(f"id-{i}", word) for i, word in enumerate(words)], metadata={"for": "tests"})
    assert batch.status == "validating" and batch.request_counts is not None and batch.request_counts.total == 0
    assert batch.expires_at == batch.created_at + 24 * 3600
    assert duty.work() == 1
    done = official.batches.retrieve(batch.id)
    assert done.status == "completed" and done.model == WRITER and done.metadata == {"for": "tests"}
    assert done.in_progress_at and done.finalizing_at and done.completed_at and done.error_file_id is None
    assert done.request_counts is not None and done.request_counts.to_dict() == {
        "total": 5, "completed": 5, "failed": 0,
    }  # fmt: skip
    answers, costs = read(official, done.output_file_id), []
    for i, word in enumerate(words):
        line = answers[f"id-{i}"]
        assert line["error"] is None and line["id"].startswith("batch_req_")
        assert line["response"]["status_code"] == 200 and line["response"]["request_id"].startswith("req_")
        answer = line["response"]["body"]
        assert answer["choices"][0]["message"]["content"] == f"yes {word}"
        assert answer["usage"] | {"prompt_tokens": prompt_of(word), "completion_tokens": 2} == answer["usage"]
        cost = prompt_of(word) * READ + 2 * WRITTEN
        assert line["response"]["x_cost_usd"] == cost / 1e9, "a number, as in the batch itself"
        costs.append(cost)
    assert done.to_dict()["x_cost_usd"] == sum(costs) / 1e9
    files = official.files.list(purpose="batch_output").data
    assert [file.id for file in files] == [done.output_file_id]
    assert done.usage is not None and done.usage.output_tokens == 10


def test_every_line_is_metered_once_at_half_the_price(server: LiveServer, writing: Wired) -> None:
    ada = on_plan("meter")
    official, word = client(server, ada), writing.word()
    writing.engine.plan(word, "yes")
    live = writing.client(ada).chat.completions.with_raw_response.create(
        model=WRITER, messages=[{"role": "user", "content": word}], max_tokens=20
    )
    batch = made(official, [chat(f"id-{i}", word) for i in range(30)])
    duty.work()
    found = events(ada, 31)
    batched = [event for event in found if event.kind == "batch_chat"]
    assert len(batched) == 30 and len(found) == 31
    assert len({event.request_id for event in batched}) == 30
    (cost,) = {event.cost_nano for event in batched}
    assert f"0.{2 * cost:09d}" == live.headers["x-cost-usd"], "half, to the nano"
    assert {event.key_id for event in batched} == {ada.key_row.pk}
    assert row(ada, batch).cost_nano == 30 * cost
    check_books(ada)
    assert used(ada, batch="true") == {None: 30}
    assert used(ada, batch="false") == {None: 1}
    assert used(ada, group_by="batch") == {True: 30, False: 1}


def used(person: Person, **query: str) -> dict[Any, int]:
    """Calls of today as the usage API tells them, by its `batch`."""
    since = int(time.time()) // 86_400 * 86_400
    asked = urlencode({"start_time": since, **query})
    answer = person.api.get(f"/v1/organization/usage/completions?{asked}").json()
    found: dict[Any, int] = {}
    for bucket in answer["data"]:
        for one in bucket["results"]:
            found[one["batch"]] = found.get(one["batch"], 0) + one["num_model_requests"]
    return found


def test_a_line_that_is_refused_fails_alone_and_costs_nothing(server: LiveServer, writing: Wired) -> None:
    ada = on_plan("refused")
    official, word = client(server, ada), writing.word()
    writing.engine.plan(word, "yes")
    lines = [chat("good", word), chat("hot", word, temperature=9), chat("long", "x" * 5000)]
    batch = made(official, lines)
    duty.work()
    done = official.batches.retrieve(batch.id)
    assert done.status == "completed" and done.request_counts is not None
    assert (done.request_counts.completed, done.request_counts.failed) == (1, 2)
    assert set(read(official, done.output_file_id)) == {"good"}
    wrong = read(official, done.error_file_id)
    assert wrong["hot"]["response"]["status_code"] == 400 and wrong["hot"]["error"] is None
    assert wrong["hot"]["response"]["body"]["error"]["param"] == "temperature"
    assert wrong["long"]["response"]["body"]["error"]["code"] == "context_length_exceeded"
    assert done.x_failed_by_code == {"context_length_exceeded": 1, "invalid_request_error": 1}  # type: ignore[attr-defined]
    assert len(events(ada, 1)) == 1


def test_a_file_with_problems_fails_with_all_of_them(server: LiveServer, writing: Wired, ada: Person) -> None:
    official = client(server, ada)
    lines: list[Any] = [
        chat("a", "w"),
        chat("a", "w"),
        b"{not json\n",
        {"custom_id": "b", "method": "GET", "url": "/v1/embeddings", "body": {"model": "other", "stream": True}},
        {"method": "POST", "url": CHAT, "body": []},
    ]
    before = len(writing.engine.asked)
    batch = made(official, lines)
    duty.work()
    done = official.batches.retrieve(batch.id)
    assert done.status == "failed" and done.failed_at and done.errors is not None and done.errors.data is not None
    assert [(one.line, one.code) for one in done.errors.data] == [
        (2, "duplicate_custom_id"),
        (3, "invalid_json_line"),
        (4, "invalid_method"),
        (4, "invalid_url"),
        (4, "unsupported_parameter"),
        (4, "mismatched_model"),
        (5, "missing_required_parameter"),
        (5, "invalid_request"),
    ]
    assert done.output_file_id is None and len(writing.engine.asked) == before


def test_problems_that_are_too_many_to_list_stand_in_the_error_file(
    server: LiveServer, writing: Wired, ada: Person
) -> None:
    official = client(server, ada)
    batch = made(official, [b"no\n"] * 1_500)
    duty.work()
    done = official.batches.retrieve(batch.id)
    assert done.errors is not None and done.errors.data is not None
    assert len(done.errors.data) == 1_001 and "500 more" in (done.errors.data[-1].message or "")
    assert done.error_file_id is not None
    listed = [json.loads(line) for line in official.files.content(done.error_file_id).text.splitlines()]
    assert [one["line"] for one in listed] == list(range(1, 1_501))


def test_an_unknown_model_and_a_full_queue_end_it_before_it_begins(
    server: LiveServer, writing: Wired, ada: Person
) -> None:
    free = on_plan("free", "free")
    official = client(server, free)
    unknown = made(official, [chat("a", "w", model="nobody")])
    big = made(official, [chat(f"{i}", "w" * 4000, max_tokens=1) for i in range(6_200)])
    duty.work()
    problems = [official.batches.retrieve(one.id).errors for one in (unknown, big)]
    codes = [one.data[0].code for one in problems if one is not None and one.data]
    assert codes == ["model_not_found", "token_limit_exceeded"]


def test_what_cannot_be_made_is_refused_in_words(server: LiveServer, writing: Wired, ada: Person) -> None:
    official = client(server, ada)
    with pytest.raises(openai.BadRequestError, match="cannot call '/v1/images'"):
        made(official, [chat("a", "w")], endpoint="/v1/images")
    data = official.files.create(file=("a.csv", b"text,label\na,b\n"), purpose="fine-tune")
    with pytest.raises(openai.BadRequestError, match="purpose 'batch'"):
        official.batches.create(input_file_id=data.id, endpoint=CHAT, completion_window="24h")
    for wrong in ({"completion_window": "1h"}, {"output_expires_after": {"anchor": "created_at", "seconds": 1}}):
        wanted: Any = {"input_file_id": data.id, "endpoint": CHAT, "completion_window": "24h"} | wrong
        with pytest.raises(openai.BadRequestError):
            official.batches.create(**wanted)
    with pytest.raises(openai.NotFoundError):
        official.batches.retrieve("batch_" + "0" * 26)


def test_lists_come_in_pages_and_announce_what_happened(server: LiveServer, writing: Wired) -> None:
    ada = on_plan("lists")
    official, word = client(server, ada), writing.word()
    writing.engine.plan(word, "yes")
    batches = [made(official, [chat("a", word)]) for _ in range(3)]
    assert duty.work() == 3
    assert [one.id for one in official.batches.list(limit=2)] == [one.id for one in reversed(batches)]
    with tenant_scope(ada.tenant.id):
        told = {event.data["id"]: event.type for event in Event.objects.all()}
        assert not Segment.objects.exists(), "pieces are removed"
    assert told == {one.id: "batch.completed" for one in batches}
    assert not storage.folders(f"t/{ada.tenant.id}/batches")


def test_a_files_expiry_is_the_outputs_own(server: LiveServer, writing: Wired, ada: Person) -> None:
    official, word = client(server, ada), writing.word()
    writing.engine.plan(word, "yes")
    batch = made(official, [chat("a", word)], output_expires_after={"anchor": "created_at", "seconds": 7200})
    duty.work()
    file = official.files.retrieve(str(official.batches.retrieve(batch.id).output_file_id))
    assert file.expires_at is not None and abs(file.expires_at - file.created_at - 7200) <= 1


def test_a_file_over_the_size_of_a_batch_is_refused(server: LiveServer, ada: Person, monkeypatch: Any) -> None:
    from data import limits

    monkeypatch.setattr(limits, "BATCH_BYTES", 1000)
    official = client(server, ada)
    with pytest.raises(openai.APIStatusError, match="may have 1,000 bytes") as refused:
        official.files.create(file=("a.jsonl", text_of([chat("a", "w" * 2000)])), purpose="batch")
    assert refused.value.status_code == 413
    with pytest.raises(openai.APIStatusError, match="may have 1,000 bytes"):
        official.uploads.create(filename="a.jsonl", purpose="batch", bytes=2000, mime_type="application/jsonl")
