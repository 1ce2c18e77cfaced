"""What each process tells Prometheus and the logs, through the doors a scraper and a collector use."""

import json
import logging
import os
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from celery import Celery
from django.test import Client

from config import tasks_seen
from kit import metrics
from kit.logs import JsonFormatter, request_id

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.django_db(databases=["default", "ops"])
def test_the_web_process_tells_of_requests_and_of_the_product(client: Client, settings: object) -> None:
    settings.METRICS_TOKEN = "scrape"  # type: ignore[attr-defined]
    client.get("/docs/")
    client.get("/account/confirm-email/a-secret-key/")
    text = client.get("/metrics", headers={"Authorization": "Bearer scrape"}).content.decode()
    assert 'web_requests_total{method="GET",route="docs/",status="200"}' in text
    assert "a-secret-key" not in text, "a path would tell secrets, and each stranger's path would be a series"
    for figure in ("product_up 1.0", 'jobs{state="queued"}', "jobs_oldest_wait_seconds", "outbox_oldest_seconds"):
        assert figure in text
    assert client.get("/metrics", headers={"Authorization": "Bearer wrong"}).status_code == 404


COUNT = """
import os
from kit import metrics
things = metrics.Counter("things_total", "Things.")
things.inc()
metrics.Gauge("open_things", "Things open.", multiprocess_mode="livesum").set(1)
"""
TELL = "from kit import metrics; print(metrics.scrape().decode())"


def alone(folder: Path, *codes: str) -> str:
    """Run each code in a process of its own, one after another, in one container; what the last one says."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'platform'}", "PROMETHEUS_MULTIPROC_DIR": str(folder)}
    for code in codes:
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return done.stdout


def test_processes_of_one_container_add_up(tmp_path: Path) -> None:
    assert "things_total 2.0" in alone(tmp_path / "shared", COUNT, COUNT, TELL)


def test_processes_that_came_and_went_leave_no_more_files_than_one_and_none_of_their_gauges(tmp_path: Path) -> None:
    alone(tmp_path, COUNT)
    files = {path.name for path in tmp_path.iterdir()}
    told = alone(tmp_path, COUNT, COUNT, COUNT, TELL)
    assert {path.name for path in tmp_path.iterdir()} <= files
    assert "things_total 4.0" in told and "open_things 1.0" not in told


def test_a_forked_child_counts_in_files_of_its_own(tmp_path: Path) -> None:
    child = "if os.fork() == 0:\n    things.inc()\n    os._exit(0)\n"
    told = alone(tmp_path, COUNT + child + "os.wait()\nprint(metrics.scrape().decode())")
    assert "things_total 2.0" in told and "open_things 1.0" in told, "the parent lives, its child does not"
    assert len(list(tmp_path.glob("counter_*.db"))) == 2


@pytest.mark.slow
@pytest.mark.parametrize("kind", [["beat"], ["worker", "--pool", "solo", "--queues", "nobody-rings-here"]], ids=str)
def test_a_process_whose_port_is_taken_says_what_to_do_and_ends(kind: list[str]) -> None:
    with socket.socket() as other:
        other.bind(("", 0))
        other.listen()
        port = str(other.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", "config.background", "--quiet", *kind],
            env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'platform'}", "METRICS_PORT": port},
            capture_output=True,
            text=True,
            check=False,
            timeout=90,
        )
    assert done.returncode == 1
    assert f"METRICS_PORT={port} cannot be used" in done.stdout and "a port of its own" in done.stdout


def test_a_task_carries_the_request_that_rang_it_and_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    app = Celery("tests", broker="memory://localhost", set_as_current=False)

    @app.task(name="tests.work", shared=False)
    def work(fails: bool) -> str:
        if fails:
            raise ValueError("as asked")
        return request_id.get()

    token = request_id.set("req_abc")
    try:
        work.delay(False)
    finally:
        request_id.reset(token)
    with app.connection_for_read() as connection:
        message = connection.SimpleQueue(app.conf.task_default_queue).get(timeout=5)
    assert message.headers["request_id"] == "req_abc"
    with caplog.at_level(logging.INFO, logger=tasks_seen.__name__):
        assert work.apply([False], headers={"request_id": "req_abc"}).get() == "req_abc"
        assert work.apply([True]).failed()
    assert request_id.get() == ""
    lines = [record.getMessage() for record in caplog.records if record.name == tasks_seen.__name__]
    assert lines == ["tests.work SUCCESS"], "what no request rang says nothing"
    text = metrics.scrape().decode()
    assert 'tasks_total{end="success",task="tests.work"} 1.0' in text
    assert 'tasks_total{end="failure",task="tests.work"} 1.0' in text
    assert 'task_seconds_count{task="tests.work"} 2.0' in text


def test_the_engine_answers_a_scrape_and_writes_json(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-u", "-m", "inference", "--listen", f"unix://{tmp_path / 'e.sock'}"]
    engine = subprocess.Popen(
        [*command, "--metrics", f"127.0.0.1:{port}"],
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'platform'}", "LOG_FORMAT": "json"},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert engine.stderr is not None
        lines = (json.loads(text) for text in engine.stderr if text.startswith("{"))
        assert next(line for line in lines if line["logger"] == "inference.service")["message"].startswith("ready on")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        assert "engine_batches_total 0.0" in text and 'engine_request_ms{quantile="0.95"}' in text
    finally:
        engine.terminate()
        engine.communicate(timeout=20)


def test_a_line_names_its_request_and_no_secret() -> None:
    record = logging.LogRecord("x", logging.INFO, "f", 1, "key ts_live_abcdefghijkl_%s_abcdef", ("s" * 32,), None)
    assert "sss" not in JsonFormatter().format(record)
