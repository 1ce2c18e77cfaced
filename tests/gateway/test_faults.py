"""What callers see when a part is away, and what becomes of work nobody waits for any more."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.conf import settings

from billing.errors import CallRefused
from billing.quotas import Denial
from gateway.errors import from_engine
from inference import errors as engine_errors
from inference.client import BlockingClient
from serving.models import RequestRecord
from tenants.scope import tenant_scope
from tests.conftest import Cast
from tests.gateway.conftest import ROOT, GatewayProcess, free_port, until_answers
from tests.gateway.writing_engine import on_plan, until
from tests.inference.artefacts import BASE

pytestmark = pytest.mark.slow  # starts real processes


def test_without_an_engine_calls_are_refused_and_may_be_repeated(
    gateway: GatewayProcess, cast: Cast, tmp_path: Path
) -> None:
    port = free_port()
    environment = os.environ | {
        "PYTHONPATH": f"{ROOT}:{ROOT / 'platform'}",
        "TUNESMITH_HOME": str(settings.HOME),
        "ENGINE_ADDRESS": f"unix://{tmp_path}/nobody.sock",
    }
    command = [sys.executable, "-m", "uvicorn", "gateway.asgi:application", "--port", str(port)]
    process = subprocess.Popen([*command, "--log-level", "warning"], env=environment, cwd=ROOT)
    try:
        alone = GatewayProcess(f"http://127.0.0.1:{port}", process)
        until_answers(f"{alone.url}/healthz", process)
        body = json.dumps({"model": BASE.name, "input": "hello"}).encode()
        status, headers, answer = alone.post("/v1/embeddings", body, cast.owner.key)
        assert status == 503, answer
        assert int(headers["retry-after"]) >= 1
        assert "x-should-retry" not in headers
        remaining = int(headers["x-ratelimit-remaining-requests"])
        time.sleep(0.2)
        _, headers, _ = alone.post("/v1/embeddings", body, cast.owner.key)
        assert int(headers["x-ratelimit-remaining-requests"]) >= remaining, "a refused call gives its request back"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def test_a_client_that_leaves_takes_its_queued_work_along(gateway: GatewayProcess, cast: Cast) -> None:
    texts = ["a text that is long enough to be worth computing " * 10] * 150
    body = json.dumps({"model": BASE.name, "input": texts}).encode()
    head = (
        f"POST /v1/embeddings HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {cast.owner.key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    where = urlsplit(gateway.url)
    with BlockingClient(settings.ENGINE_ADDRESS, settings.ENGINE_TOKEN) as engine:
        before = engine.health().cancelled
        with socket.create_connection((where.hostname, where.port)) as peer:
            peer.sendall(head.encode() + body)
            deadline = time.monotonic() + 10
            while not engine.health().queued_rows and time.monotonic() < deadline:
                time.sleep(0.01)
        deadline = time.monotonic() + 5
        while engine.health().cancelled == before:
            assert time.monotonic() < deadline, "the work was not cancelled"
            time.sleep(0.05)
        assert engine.health().queued_rows == 0


def test_an_engine_that_is_full_answers_503_at_the_door_and_charges_nothing(
    gateway: GatewayProcess, tmp_path: Path
) -> None:
    """One that lets in nothing that would wait for more than a hundredth of a second, so that little work fills it."""
    ada = on_plan("ada")
    with impatient(tmp_path, "0.01") as busy:
        one, many = (json.dumps({"model": BASE.name, "input": ["a text of some words"] * n}).encode() for n in (1, 256))
        assert busy.post("/v1/embeddings", one, ada.key)[0] == 200  # the engine knows its speed from here on
        with ThreadPoolExecutor() as pool:
            answers = list(pool.map(lambda _: busy.post("/v1/embeddings", many, ada.key), range(6)))
        refused = [(headers, json.loads(raw)["error"]) for status, headers, raw in answers if status == 503]
        served = [headers for status, headers, _ in answers if status == 200]
        assert refused and served and len(refused) + len(served) == len(answers)
        for headers, error in refused:
            assert (error["type"], error["code"], error["param"]) == ("server_error", "slow_down", None)
            assert error["message"] == "The engine is busy; try again shortly."
            assert 1 <= int(headers["retry-after"]) <= 30 and "x-should-retry" not in headers
            assert "x-cost-usd" not in headers and int(headers["x-ratelimit-limit-requests"]) > 0
        status, headers, _ = busy.post("/v1/embeddings", many, ada.key)
        assert status == 200 and float(headers["x-cost-usd"]) > 0, "once there is room it is answered"

    def logged() -> list[tuple[int, str, bool]]:
        with tenant_scope(ada.tenant.id):
            rows = RequestRecord.objects.values_list("status", "code", "cost_nano")
            return sorted((status, code, bool(cost)) for status, code, cost in rows)

    until(lambda: len(logged()) == len(answers) + 2)
    assert logged() == [(200, "", True)] * (len(served) + 2) + [(503, "slow_down", False)] * len(refused)


@contextlib.contextmanager
def impatient(folder: Path, seconds: str) -> Iterator[GatewayProcess]:
    """A gateway before an engine that refuses what would wait longer."""
    port, address = free_port(), f"unix://{folder}/engine.sock"
    environment = os.environ | {
        "PYTHONPATH": f"{ROOT}:{ROOT / 'platform'}",
        "TUNESMITH_HOME": str(settings.HOME),
        "TUNESMITH_ENGINE_TOKEN": settings.ENGINE_TOKEN,
        "ENGINE_ADDRESS": address,
    }
    engine = [sys.executable, "-m", "inference", "--listen", address, "--precision", "fp32", "--max-wait", seconds]
    door = [sys.executable, "-m", "uvicorn", "gateway.asgi:application", "--port", str(port), "--log-level", "warning"]
    processes = [subprocess.Popen(command, env=environment, cwd=ROOT) for command in (engine, door)]

    def answers() -> bool:
        assert processes[0].poll() is None, "the engine ended before it was ready"
        try:
            with BlockingClient(address, settings.ENGINE_TOKEN) as client:
                return bool(client.health())
        except engine_errors.Unavailable:
            return False

    try:
        until(answers, seconds=120)
        until_answers(f"http://127.0.0.1:{port}/healthz", processes[1])
        yield GatewayProcess(f"http://127.0.0.1:{port}", processes[1])
    finally:
        for process in reversed(processes):
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def test_every_refusal_of_the_engine_has_its_status_and_says_whether_to_come_back() -> None:
    cases = [
        (engine_errors.Overloaded("busy", retry_after=3.2), 503, "slow_down", "3"),
        (engine_errors.Unavailable("gone"), 503, "server_is_overloaded", "1"),
        (engine_errors.Late("slow"), 503, "server_is_overloaded", "1"),
        (engine_errors.NoRoom("full", retry_after=30), 503, "server_is_overloaded", "1"),
        (engine_errors.BadArtefact("broken"), 503, "server_is_overloaded", "1"),
        (engine_errors.Internal("bug"), 503, "server_is_overloaded", "1"),
        (engine_errors.TooLarge("long"), 413, "payload_too_large", None),
        (engine_errors.BadRequest("odd"), 400, None, None),
    ]
    for error, status, code, retry_after in cases:
        refused = from_engine(error)
        assert (refused.status, refused.code, refused.headers.get("retry-after")) == (status, code, retry_after)
    assert "Send fewer or shorter texts" in from_engine(engine_errors.Late("slow")).message


def test_a_quota_refusal_keeps_its_words_status_and_headers() -> None:
    denial = Denial(402, "insufficient_quota", "budget_exceeded", "No money.", ((b"x-should-retry", b"false"),))
    refused = CallRefused(denial)
    assert refused.status == 402
    assert refused.headers == {"x-should-retry": "false"}
    assert refused.body()["error"] == {
        "message": "No money.",
        "type": "insufficient_quota",
        "param": None,
        "code": "budget_exceeded",
    }
