"""The request log: a row for every call that a key opened, whatever became of it, and no text."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from django.db import connection

from billing.prices import batch_kind
from billing.services.gate import sink_dsn
from kit.clock import now
from kit.ids import new_id, parse_id
from serving.models import RequestRecord, RequestText
from serving.requests import MOST_REFUSED, RequestLog, RequestNote, requests_prune
from serving.texts import INSERT as TEXTS
from serving.texts import TextNote, texts_keep
from tenants.scope import tenant_scope
from tests.conftest import Person, make_person
from tests.gateway.conftest import GatewayProcess
from tests.gateway.writing_calls import streaming
from tests.gateway.writing_engine import WRITER, Wired, on_plan, says, until
from tests.serving.made import deployed, trained

pytestmark = pytest.mark.slow  # starts real processes


def record_of(person: Person, request_id: str) -> RequestRecord:
    """The log's row of a request, once it is written."""
    found: list[RequestRecord] = []

    def there() -> bool:
        with tenant_scope(person.tenant.id):
            found[:] = RequestRecord.objects.filter(pk=parse_id("req_", request_id))
        return bool(found)

    until(there)
    return found[0]


def test_what_was_read_is_logged_with_its_figures(gateway: GatewayProcess, tmp_path_factory: Any) -> None:
    ada = make_person("ada")
    version, _ = trained(ada, tmp_path_factory.mktemp("m") / "a", "lora")
    deployed(ada, version, alias="triage@prod")
    raw = gateway.client(ada).embeddings.with_raw_response.create(model="triage@prod", input=["a", "b c"])
    row = record_of(ada, raw.headers["x-request-id"])
    usage = raw.parse().usage
    assert (row.kind, row.model, row.version_id, row.status, row.code) == (
        "embeddings", "triage@prod", version.id, 200, ""
    )  # fmt: skip
    assert (row.items, row.input_tokens, row.output_tokens) == (2, usage.prompt_tokens, 0)
    assert row.cost_nano == round(float(raw.headers["x-cost-usd"]) * 1e9) > 0
    assert row.duration_ms >= row.engine_ms > 0
    assert row.model_state == raw.headers["x-model-state"]
    assert (row.project_id, row.key_id) == (ada.project.id, ada.key_row.id)


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "4bf92f3577b34da6a3ce929d0e0e4736"),
        ("00-00000000000000000000000000000000-00f067aa0ba902b7-01", ""),
        ("nonsense", ""),
    ],
)
def test_a_caller_finds_its_trace_where_none_are_collected(gateway: GatewayProcess, sent: str, kept: str) -> None:
    ada = make_person("ada")
    client = gateway.client(ada).with_options(default_headers={"traceparent": sent})
    raw = client.embeddings.with_raw_response.create(model="all-MiniLM-L6-v2", input="hm")
    assert record_of(ada, raw.headers["x-request-id"]).trace_id == kept


@pytest.mark.parametrize(
    ("sent", "kept"), [("2", 2), ("0", 0), ("99999", 32_767), ("9" * 4000, 0), ("-1", 0), ("²", 0), ("two", 0), ("", 0)]
)
def test_how_often_the_client_had_sent_a_request_is_kept(gateway: GatewayProcess, sent: str, kept: int) -> None:
    ada = make_person("ada")
    body = b'{"model": "all-MiniLM-L6-v2", "input": "hm"}'
    status, headers, _ = gateway.post("/v1/embeddings", body, ada.key, **{"X-Stainless-Retry-Count": sent})
    row = record_of(ada, headers["x-request-id"])
    assert (status, row.retries) == (200, kept)
    assert ada.api.get(f"/v1/requests/{row.public_id}").json()["retries"] == kept


def test_a_retry_of_the_official_client_can_be_told_from_the_call_before(writing: Wired) -> None:
    ada = on_plan("ada")
    word = writing.word()
    writing.engine.plan(word, fail_after=0, error=("internal", "A fault of the engine."))
    client = writing.client(ada).with_options(max_retries=1)
    with pytest.raises(openai.InternalServerError):
        client.chat.completions.create(model=WRITER, messages=says(word))

    def logged() -> list[RequestRecord]:
        with tenant_scope(ada.tenant.id):
            return list(RequestRecord.objects.order_by("at"))

    until(lambda: len(logged()) == 2)
    first, second = logged()
    assert (first.retries, second.retries) == (0, 1)
    pages = [ada.browser.get(f"{ada.workspace}/requests/{row.public_id}/").content.decode() for row in (first, second)]
    assert ["first retry" in page for page in pages] == [False, True]
    head, *lines = ada.browser.get(f"{ada.workspace}/requests/csv").content.decode().splitlines()
    assert head.endswith(",retries") and [line.rsplit(",", 1)[1] for line in lines] == ["1", "0"]


def test_what_failed_is_logged_with_its_code(gateway: GatewayProcess) -> None:
    ada = make_person("ada")
    for body, status, code in [
        (b'{"model": "nobody", "input": "secret words"}', 404, "model_not_found"),
        (b'{"model": ', 400, "invalid_request_error"),
    ]:
        found, headers, _ = gateway.post("/v1/classify", body, ada.key)
        row = record_of(ada, headers["x-request-id"])
        assert found == row.status == status
        assert row.code == code
        assert (row.input_tokens, row.cost_nano, row.version_id) == (0, 0, None)
    with tenant_scope(ada.tenant.id), connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM serving_requestrecord AS row WHERE row::text LIKE '%secret%'")
        assert cursor.fetchone() == (0,)


def test_a_stream_is_logged_when_it_has_ended(writing: Wired) -> None:
    ada = on_plan("ada")
    word = writing.word()
    writing.engine.plan(word, "five words and then some")
    with streaming(writing, ada, {"messages": says(word)}) as raw:
        raw.read()
    row = record_of(ada, raw.headers["x-request-id"])
    assert (row.kind, row.model, row.status) == ("chat", WRITER, 200)
    assert row.output_tokens > 0
    assert row.first_token_ms <= row.duration_ms


def test_a_client_that_leaves_is_logged_with_what_it_pays(writing: Wired) -> None:
    ada = on_plan("ada")
    word = writing.word()
    writing.engine.plan(word, "a ", "long ", "story", hold_after=1)
    with streaming(writing, ada, {"messages": says(word)}) as raw:
        next(raw.iter_lines())
    row = record_of(ada, raw.headers["x-request-id"])
    assert (row.status, row.code) == (499, "client_left")
    assert row.cost_nano > 0


def note_of(person: Person, **fields: Any) -> RequestNote:
    return RequestNote(
        id=new_id(), tenant_id=person.tenant.id, project_id=person.project.id, key_id=None, kind="chat",
        **{"at_ms": 1, **fields},
    )  # fmt: skip


@pytest.fixture
def log(django_db_setup: None) -> Iterator[RequestLog]:
    log = RequestLog(sink_dsn())
    yield log
    log.stop()


def logged(person: Person) -> int:
    with tenant_scope(person.tenant.id):
        return RequestRecord.objects.count()


def test_one_tenants_row_that_cannot_be_kept_costs_no_other(log: RequestLog) -> None:
    ada, ben = make_person("ada"), make_person("ben")
    gone = note_of(ada)
    gone.tenant_id = new_id()
    for note in [note_of(ada), gone, note_of(ben), note_of(ben, status=99_999)]:
        log.note(note)
    log.flush()
    assert (logged(ada), logged(ben)) == (1, 1)


def test_who_hammers_against_a_limit_fills_no_table(log: RequestLog) -> None:
    ada, ben = make_person("ada"), make_person("ben")
    for _ in range(MOST_REFUSED + 50):
        log.note(note_of(ada, status=429))
    log.note(note_of(ben, status=429))
    log.note(note_of(ada))
    log.flush()
    assert (logged(ada), logged(ben)) == (MOST_REFUSED + 1, 1)


@pytest.mark.parametrize("together", [True, False])
def test_a_line_that_is_asked_again_is_logged_as_it_ended(log: RequestLog, together: bool) -> None:
    ada, texts = make_person("ada"), RequestLog(sink_dsn(), TEXTS)
    with tenant_scope(ada.tenant.id):
        texts_keep(project=ada.project, days=7)
    again = new_id()
    for moment, status, code in ((1, 503, "slow_down"), (2, 200, ""), (3, 503, "slow_down")):
        note = note_of(ada, at_ms=moment, status=status, code=code, cost_nano=7 if status == 200 else 0)
        note.id, note.kind = again, batch_kind(note.kind)
        log.note(note)
        texts.note(
            TextNote(id=again, tenant_id=ada.tenant.id, project_id=ada.project.id, at_ms=moment, status=status,
                     input="q", output=str(status))
        )  # fmt: skip
        if not together:
            log.flush()
            texts.flush()
    log.flush()
    texts.flush()
    texts.stop()
    with tenant_scope(ada.tenant.id):
        row = RequestRecord.objects.get()
        assert (row.pk, row.status, row.code, row.cost_nano) == (again, 200, "", 7)
        assert RequestText.objects.get().output == "200"


def test_old_rows_are_forgotten(log: RequestLog, settings: Any) -> None:
    ada = make_person("ada")
    moment = now()

    def at(days: float) -> int:
        return int((moment - dt.timedelta(days=days)).timestamp() * 1000)

    settings.REQUEST_LOG_DAYS = 7
    for days in (6.9, 7.1, 30):
        log.note(note_of(ada, at_ms=at(days)))
    log.flush()
    assert requests_prune() >= 2
    assert logged(ada) == 1
