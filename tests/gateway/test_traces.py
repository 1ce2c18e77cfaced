"""A request's trace, from the caller through the gateway to the batch in the engine, at a collector on a socket."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import override_settings

from inference import tracing
from inference.tracing import UNTRACED
from kit.ids import encode
from tenants.passes import pass_make
from tests.conftest import make_person
from tests.gateway.conftest import ROOT, GatewayProcess, free_port, until_answers
from tests.gateway.test_request_log import record_of
from tests.gateway.writing_engine import CHAT, WRITER, Wired, on_plan, says, until
from tests.inference.artefacts import BASE
from tests.serving.made import deployed, engine_running, trained

pytestmark = pytest.mark.slow  # starts real processes
trace_service = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")

CALLER = "4bf92f3577b34da6a3ce929d0e0e4736"


class Collector:
    """Takes what exporters send, over HTTP, as any collector does."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, Any]] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    import gzip

                    body = gzip.decompress(body)
                sent = trace_service.ExportTraceServiceRequest.FromString(body)
                for resource in sent.resource_spans:
                    names = {one.key: one.value.string_value for one in resource.resource.attributes}
                    for scope in resource.scope_spans:
                        collector.spans += [(names["service.name"], span) for span in scope.spans]
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def of(self, trace_id: str) -> dict[str, tuple[str, Any]]:
        """A trace's spans by name, with who sent them."""
        return {span.name: (who, span) for who, span in self.spans if span.trace_id.hex() == trace_id}


@pytest.fixture(scope="module")
def traced(
    django_db_setup: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[GatewayProcess, Collector]]:
    collector, port = Collector(), free_port()
    # For these two processes alone: another gateway that starts in the test's own would send its traces there as well,
    # and the other tests' engine listens where the settings say.
    sent = {tracing.ENDPOINT: collector.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    address = f"unix://{tmp_path_factory.mktemp('traced') / 'engine'}"
    paths = {"PYTHONPATH": f"{ROOT}:{ROOT / 'platform'}", "TUNESMITH_HOME": str(settings.HOME)}
    environment = os.environ | sent | paths | {"ENGINE_ADDRESS": address}
    command = [sys.executable, "-m", "uvicorn", "gateway.asgi:application", "--port", str(port)]
    try:
        with override_settings(ENGINE_ADDRESS=address), engine_running(**sent):
            process = subprocess.Popen([*command, "--log-level", "warning"], env=environment, cwd=ROOT)
            try:
                until_answers(f"http://127.0.0.1:{port}/healthz", process)
                yield GatewayProcess(f"http://127.0.0.1:{port}", process), collector
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(30)
    finally:
        collector.server.shutdown()


def test_a_call_is_one_trace_from_its_caller_to_the_batch(
    traced: tuple[GatewayProcess, Collector], tmp_path: Path
) -> None:
    gateway, collector = traced
    ada = make_person("ada")
    version, _ = trained(ada, tmp_path / "a", "head")
    deployed(ada, version)
    body = json.dumps({"model": version.model.name, "input": ["one text", "and another"]}).encode()
    status, headers, _ = gateway.post(
        "/v1/classify", body, ada.key, traceparent=f"00-{CALLER}-00f067aa0ba902b7-01"
    )  # fmt: skip
    assert status == 200
    wanted = {"POST /v1/classify", "key", "route", "quota", "engine", "settle", "queue", "compute"}
    until(lambda: wanted <= set(collector.of(CALLER)))
    spans = collector.of(CALLER)
    root, engine = spans["POST /v1/classify"][1], spans["engine"][1]
    assert root.parent_span_id.hex() == "00f067aa0ba902b7"
    for name in ("key", "route", "quota", "engine", "settle"):
        assert spans[name][0] == "tunesmith-gateway" and spans[name][1].parent_span_id == root.span_id, name
    for name in ("queue", "compute"):
        who, span = spans[name]
        assert who == "tunesmith-engine" and span.parent_span_id == engine.span_id, name
        assert root.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano, name
    batch = next(
        span for who, span in collector.spans
        if span.name == "batch" and any(link.span_id == engine.span_id for link in span.links)
    )  # fmt: skip
    assert batch.trace_id.hex() != CALLER, "a batch belongs to nobody"
    assert {one.key: one.value.int_value for one in batch.attributes}["tunesmith.rows"] == 2
    row = record_of(ada, headers["x-request-id"])
    assert row.trace_id == CALLER
    assert ada.api.get(f"/v1/requests/{row.public_id}").json()["trace_id"] == CALLER
    page = ada.browser.get(f"{ada.workspace}/requests/{row.public_id}/").content.decode()
    assert CALLER in page and "batch of 2 rows" in page


def test_a_call_without_a_traceparent_or_with_nonsense_begins_a_trace(
    traced: tuple[GatewayProcess, Collector],
) -> None:
    gateway, collector = traced
    ada = make_person("ada")
    body = json.dumps({"model": BASE.name, "input": "hello"}).encode()
    for headers in ({}, {"traceparent": "\u00e9 nonsense"}, {"traceparent": "00-" + "0" * 32 + "-00f067aa0ba902b7-01"}):
        status, answered, _ = gateway.post("/v1/embeddings", body, ada.key, **headers)
        assert status == 200
        found = record_of(ada, answered["x-request-id"]).trace_id
        assert re.fullmatch("[0-9a-f]{32}", found) and int(found, 16)
        until(lambda found=found: "compute" in collector.of(found))


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """Traces of this very process, in which the gateway before the planned engine runs."""
    collector = Collector()
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "here")
    tracing._tracer = None  # `writing` comes first, and may have found the other collector
    tracing.start("here", collector.url)
    yield collector
    tracing._tracer = None
    collector.server.shutdown()


def test_a_text_in_the_making_shows_its_first_token_and_each_time_more_was_reserved(
    here: Collector, writing: Wired
) -> None:
    ada, word = on_plan("ada"), writing.word()
    writing.engine.plan(word, *(f" w{n}" for n in range(400)))
    raw = writing.post(CHAT, {"model": WRITER, "messages": says(word), "max_tokens": 1000}, ada.key)
    found = record_of(ada, raw.headers["x-request-id"]).trace_id
    wanted = {f"POST {CHAT}", "key", "route", "quota", "engine", "extend", "settle"}
    until(lambda: wanted <= set(here.of(found)))
    engine = here.of(found)["engine"][1]
    assert [event.name for event in engine.events] == ["first token"]
    (asked,) = writing.engine.of(word)
    assert asked.message.trace.startswith(f"00-{found}-{engine.span_id.hex()}-"), "the engine goes on from there"
    extend = here.of(found)["extend"][1]
    assert engine.start_time_unix_nano <= extend.start_time_unix_nano <= engine.end_time_unix_nano


def test_a_call_of_the_playground_names_nobody_in_its_trace(here: Collector, writing: Wired) -> None:
    """A collector may be anybody's: a request id leads to whose call it was in the product, and only there."""
    ada, word = on_plan("ada"), writing.word()
    writing.engine.plan(word, " once")
    held = pass_make(ada.project, ada.user.pk)
    raw = writing.post(CHAT, {"model": WRITER, "messages": says(word), "max_tokens": 5}, held)
    found = record_of(ada, raw.headers["x-request-id"]).trace_id
    until(lambda: {f"POST {CHAT}", "engine", "settle"} <= set(here.of(found)))
    spans = here.of(found)
    told = {one.key: one.value.string_value or one.value.int_value for one in spans[f"POST {CHAT}"][1].attributes}
    assert told == {"tunesmith.status": 200, "tunesmith.request_id": raw.headers["x-request-id"]}
    said = "".join(str(span) for _, span in spans.values())
    for row in (ada.user, ada.tenant, ada.project):
        assert not [name for name in (row.pk.hex, str(row.pk), encode(row.pk)) if name in said]
    assert ada.user.email not in said and held not in said and word not in said


def test_who_collects_nothing_pays_nothing() -> None:
    assert not tracing.on() and tracing.begin("x", "") is UNTRACED
    with UNTRACED.span("key") as span, UNTRACED.span("route"):
        assert span is UNTRACED and UNTRACED.traceparent == "" and UNTRACED.trace_id == ""
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys; from inference import tracing; tracing.start('x'); "
         "print('opentelemetry' in sys.modules)"],
        env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert loaded.stdout.strip() == "False"
