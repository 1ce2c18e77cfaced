"""Django's requests and the tasks they ring are one trace, at a collector on a socket."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from inference import tracing
from tests.conftest import Cast
from tests.gateway.test_traces import CALLER, Collector
from tests.gateway.writing_engine import until
from tests.training.background import worker_of_all
from tests.training.making import BASE, intents

pytestmark = pytest.mark.slow  # starts a worker
pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")

PARENT = "00f067aa0ba902b7"
HEADER = f"00-{CALLER}-{PARENT}-01"


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """Takes this process's traces and those of the processes it starts."""
    made = Collector()
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    with monkeypatch.context() as named:
        named.setenv("OTEL_SERVICE_NAME", "web")
        tracing._tracer = None
        tracing.start("web", made.url)
    yield made
    tracing._tracer = None
    made.server.shutdown()


@pytest.fixture
def worker(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One worker for every queue, in a process of its own."""
    monkeypatch.delenv("OTEL_SERVICE_NAME", raising=False)
    with worker_of_all(**{tracing.ENDPOINT: collector.url}):
        yield


def attributes(span: Any) -> dict[str, str | int]:
    return {one.key: one.value.string_value or one.value.int_value for one in span.attributes}


def test_a_request_of_django_goes_on_from_its_caller_under_the_name_of_its_route(
    collector: Collector, cast: Cast
) -> None:
    ada = cast.owner
    answer = ada.api.get("/v1/files/file-of-nobody", traceparent=HEADER)
    until(lambda: bool(collector.of(CALLER)))
    ((name, (who, span)),) = collector.of(CALLER).items()
    assert (who, name) == ("web", "GET /v1/files/<str:file_id>")
    assert span.parent_span_id.hex() == PARENT
    told = attributes(span)
    assert told == {"tunesmith.status": 404, "tunesmith.request_id": answer.headers["x-request-id"]}
    ada.browser.get(f"{ada.workspace}/playground/")
    ada.browser.get("/healthz")
    until(lambda: any("playground" in one.name for _, one in collector.spans))
    names = [one.name for _, one in collector.spans]
    assert not any(ada.tenant.slug in one or "healthz" in one for one in names), "a path names people, a route nobody"


def test_an_upload_and_its_reading_a_job_and_its_training_are_one_trace_each(
    collector: Collector, worker: None, cast: Cast
) -> None:
    ada = cast.owner
    form = {"purpose": "fine-tune", "file": SimpleUploadedFile("intents.csv", intents(60))}
    headers = {"Authorization": f"Bearer {ada.key}", "traceparent": HEADER}
    file = ada.api.client.post("/v1/files", data=form, headers=headers).json()
    until(lambda: len(collector.of(CALLER)) >= 2, 90)
    upload = collector.of(CALLER)["POST /v1/files"][1]
    ((task, (who, reading)),) = [item for item in collector.of(CALLER).items() if item[0] != "POST /v1/files"]
    assert who == "tunesmith-worker" and task.startswith("data.") and reading.parent_span_id == upload.span_id
    assert attributes(reading)["tunesmith.state"] == "SUCCESS"
    assert attributes(reading)["tunesmith.request_id"] == attributes(upload)["tunesmith.request_id"]

    wanted = {"model": BASE, "training_file": file["id"], "x_method": "head"}
    job = ada.api.post("/v1/fine_tuning/jobs", wanted, traceparent=HEADER.replace(CALLER, CALLER[::-1])).json()
    assert "id" in job, job
    names = {"POST /v1/fine_tuning/jobs", "training.validate", "training.work"}
    until(lambda: names <= set(collector.of(CALLER[::-1])), 120)
    spans = [span for _, span in collector.spans if span.trace_id.hex() == CALLER[::-1]]
    parents = {(one.name, other.name) for one in spans for other in spans if other.span_id == one.parent_span_id}
    assert ("training.validate", "POST /v1/fine_tuning/jobs") in parents
    assert ("training.work", "training.validate") in parents, "it may ring itself once more when it is done"


def test_where_nobody_collects_nothing_is_begun_and_nothing_carried(cast: Cast) -> None:
    from config import traced

    assert not tracing.on()
    headers: dict[str, Any] = {}
    traced._carry_trace(headers=headers)
    cast.owner.api.get("/v1/files", traceparent=HEADER)
    assert headers == {} and traced._current.get() is tracing.UNTRACED
