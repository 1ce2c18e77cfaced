"""The request log over the API: filters, pages, one request, figures, and what a large log costs to read."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest
from django.db import connection

from console.states import call_word
from console.templatetags.look import model_short
from gateway import app as gateway
from kit.clock import now
from serving import patience, requests_read
from serving.figures import figures, statement
from serving.requests_read import RequestFilter
from tenants.scope import tenant_scope
from tests.conftest import Person, make_person
from tests.registry.making import make_model
from tests.serving.logged import log_many, log_request

DAYS = 20


@pytest.fixture
def ada() -> Person:
    return make_person("ada")


def listed(person: Person, query: str = "") -> Any:
    answer = person.api.get(f"/v1/requests?{query}")
    assert answer.status_code == 200, answer.content
    return answer.json()


def test_a_request_is_found_by_the_id_its_answer_had(ada: Person) -> None:
    row = log_request(ada, status=429, code="rate_limit_exceeded", cost_nano=0)
    found = ada.api.get(f"/v1/requests/{row.public_id}").json()
    assert found["id"] == row.public_id and found["object"] == "request"
    assert (found["status"], found["code"], found["cost_usd"]) == (429, "rate_limit_exceeded", 0)
    assert found["api_key_id"] == ada.key_row.public_id and found["batch_rows"] == 4
    other = make_person("bob")
    answers = [other.api.get(f"/v1/requests/{one}") for one in (row.public_id, "req_" + "0" * 26, "nonsense")]
    assert {answer.status_code for answer in answers} == {404}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", 5), ("model=slow", 1), ("kind=chat", 1), ("status=4xx", 1), ("status=429", 1), ("status=5xx", 1),
        ("status=2xx", 3), ("code=rate_limit_exceeded", 1), ("min_duration_ms=500", 1), ("arm=candidate", 1),
        ("api_key_id=none", 1), ("model=slow&status=5xx", 0),
    ],
)  # fmt: skip
def test_filters_narrow_the_list(ada: Person, query: str, expected: int) -> None:
    log_request(ada, model="slow", duration_ms=900)
    log_request(ada, kind="chat", arm="candidate")
    log_request(ada, status=429, code="rate_limit_exceeded")
    log_request(ada, status=503, code="slow_down")
    log_request(ada, key_id=None)
    log_request(ada, at=now() - dt.timedelta(days=3))
    assert len(listed(ada, query)["data"]) == expected
    week = int((now() - dt.timedelta(days=7)).timestamp())
    assert len(listed(ada, f"start_time={week}")["data"]) == 6
    assert len(listed(ada, f"api_key_id={ada.key_row.public_id}")["data"]) == 4


def test_pages_go_back_from_a_row_even_where_several_came_at_one_moment(ada: Person) -> None:
    moment = now() - dt.timedelta(minutes=1)
    made = {log_request(ada, at=moment).public_id for _ in range(7)}
    seen: list[str] = []
    page = listed(ada, "limit=3")
    while True:
        seen += [one["id"] for one in page["data"]]
        log_request(ada)  # what comes meanwhile moves nothing
        if not page["has_more"]:
            break
        page = listed(ada, f"limit=3&after={page['last_id']}")
    assert len(seen) == len(set(seen)) == 7 and set(seen) == made


def test_a_page_goes_on_from_a_row_that_has_grown_older_than_the_span(ada: Person) -> None:
    old = log_request(ada, at=now() - dt.timedelta(hours=25))
    log_request(ada)
    page = listed(ada, f"after={old.public_id}")
    assert page["data"] == [] and page["has_more"] is False
    week = int((now() - dt.timedelta(days=7)).timestamp())
    older = log_request(ada, at=now() - dt.timedelta(hours=26))
    assert [one["id"] for one in listed(ada, f"after={old.public_id}&start_time={week}")["data"]] == [older.public_id]
    other = log_request(make_person("bob"))
    assert ada.api.get(f"/v1/requests?after={other.public_id}").status_code == 400


SAID = {"moderations": "Moderation", "predict": "Prediction", "batch_chat": "Chat, in a batch"}


def test_every_kind_that_the_gateway_logs_can_be_asked_for(ada: Person) -> None:
    assert set(requests_read.CALLED) == set(gateway.KINDS.values())
    for kind in ("moderations", "predict", "batch_chat"):
        log_request(ada, kind=kind)
        assert [one["kind"] for one in listed(ada, f"kind={kind}")["data"]] == [kind]
        page = ada.browser.get(f"{ada.workspace}/requests/?kind={kind}").content.decode()
        assert f'<option value="{kind}" selected>{SAID[kind]}</option>' in page
        assert f'<td class="fit">{SAID[kind]}</td>' in page, "the table says it in the same words"


def test_every_kind_has_a_word(ada: Person) -> None:
    page = ada.browser.get(f"{ada.workspace}/requests/").content.decode()
    for kind in requests_read.KINDS:
        assert call_word(kind) not in (kind, kind.replace("_", " ")) and f">{call_word(kind)}</option>" in page


def test_a_model_is_filtered_by_the_short_name_that_the_table_shows(ada: Person) -> None:
    name = make_model(ada).model.name
    row, other = log_request(ada, model=name), log_request(ada, model="triage@prod")
    page = ada.browser.get(f"{ada.workspace}/requests/?model={model_short(name)}").content.decode()
    assert model_short(name) != name and row.public_id in page and other.public_id not in page


def test_a_link_to_the_page_need_not_name_the_time(ada: Person) -> None:
    wanted, other = log_request(ada, model="triage@prod"), log_request(ada, model="other@prod")
    page = ada.browser.get(f"{ada.workspace}/requests/?model=triage@prod").content.decode()
    assert 'value="triage@prod"' in page
    assert wanted.public_id in page and other.public_id not in page


def test_a_list_that_takes_too_long_is_broken_off_with_a_word_about_it(
    ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_many(ada, 20_000)
    monkeypatch.setattr(patience, "PATIENCE_MS", 1)
    answer = ada.api.get("/v1/requests?code=nothing_has_it")
    assert answer.status_code == 400 and answer.json()["error"]["code"] == "span_too_large", answer.content
    assert ada.browser.get(f"{ada.workspace}/requests/csv?span=30d&code=nothing_has_it").status_code == 400


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("status=6xx", "status"), ("status=ok", "status"), ("kind=poem", "kind"), ("arm=left", "arm"),
        ("api_key_id=key_nobody", "api_key_id"), ("start_time=tomorrow", "start_time"), ("after=req_x", "after"),
        ("start_time=2000&end_time=1000", "end_time"), ("min_duration_ms=-1", "min_duration_ms"),
        ("colour=red", "colour"), ("limit=1000", "limit"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_by_its_name(ada: Person, query: str, param: str) -> None:
    answer = ada.api.get(f"/v1/requests?{query}")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), answer.content


def test_figures_are_those_of_the_rows(ada: Person) -> None:
    for ms in (10, 20, 30, 40, 1000):
        log_request(ada, duration_ms=ms, model="a")
    log_request(
        ada, model="b", kind="chat", status=503, duration_ms=9, input_tokens=100, cached_tokens=60, batch_rows=0
    )
    log_request(ada, model="b", kind="chat", first_token_ms=80, duration_ms=300, output_tokens=7, batch_rows=0)
    answer = ada.api.get("/v1/requests/figures?group_by=model").json()
    total, (first, second) = answer["total"], answer["data"]
    assert (first["group"], first["requests"], first["errors"]) == ("a", 5, 0)
    assert (first["p50_ms"], first["p95_ms"]) == (30, 808) and first["batch_rows_mean"] == 4
    assert (second["group"], second["requests"], second["faults"], second["p50_ms"]) == ("b", 2, 1, 300)
    assert (second["cached_tokens"], second["first_token_p50_ms"], second["batch_rows_mean"]) == (60, 80, None)
    assert (total["requests"], total["output_tokens"], total["cost_usd"]) == (7, 7, pytest.approx(7 * 180e-9))
    assert ada.api.get("/v1/requests/figures").json()["data"] == []
    days = ada.api.get("/v1/requests/figures?group_by=day&status=2xx").json()["data"]
    assert [one["requests"] for one in days if one["group"].endswith("T00:00:00Z")] and len(days) <= 2
    nothing = make_person("bob").api.get("/v1/requests/figures?group_by=api_key").json()
    assert nothing["total"]["requests"] == 0 and nothing["total"]["p99_ms"] is None and nothing["data"] == []


@pytest.mark.parametrize("query", ["group_by=colour", "start_time=1000"])
def test_figures_of_anything_else_are_refused(ada: Person, query: str) -> None:
    answer = ada.api.get(f"/v1/requests/figures?{query}")
    assert answer.status_code == 400 and answer.json()["error"]["param"] in ("group_by", "start_time")


@pytest.mark.slow
def test_a_log_of_200000_requests_is_read_along_its_index(ada: Person) -> None:
    log_many(ada, 200_000)
    wanted = RequestFilter(project_id=ada.project.pk, since=now() - dt.timedelta(days=DAYS))
    recent = RequestFilter(project_id=ada.project.pk, since=now() - dt.timedelta(hours=1))
    with connection.cursor() as cursor:
        cursor.execute("SELECT reltuples FROM pg_class WHERE relname = 'serving_requestrecord'")
    with tenant_scope(ada.tenant.id), connection.cursor() as cursor:
        for rows in (requests_read.requests(wanted)[:51], requests_read.requests(recent)[:51]):
            assert "serving_request_project" in plan_of(cursor, *rows.query.sql_with_params())
        assert "serving_request_project" in plan_of(cursor, *statement(recent, by="model"))
        whole, parts = figures(wanted, by="model")
        page, more = requests_read.requests_after(wanted, "", limit=50)
    assert whole.requests == 200_000 == sum(one.requests for one in parts) and len(parts) == 7
    assert whole.refused == 4_000 and whole.faults == 200_000 // 211 - 200_000 // (211 * 50)
    assert len(page) == 50 and more


def plan_of(cursor: Any, text: str, parameters: tuple[Any, ...]) -> str:
    cursor.execute(f"EXPLAIN (FORMAT JSON) {text}", parameters)
    return json.dumps(cursor.fetchone())
