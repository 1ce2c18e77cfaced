"""The whole way with a real worker: the client uploads, Celery rings, the reader reads, the version is written."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from django.conf import settings
from pytest_django.live_server_helper import LiveServer

from tests import doorbells
from tests.conftest import Cast

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "support_intents.csv"
pytestmark = pytest.mark.slow


@pytest.fixture
def worker(_database_for_all: None) -> Iterator[None]:
    """An ingest worker of its own, on this run's engines."""
    doorbells.forget("ingest")
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'platform'}",
        "TUNESMITH_HOME": str(settings.HOME),
        "WORKER_QUEUE": "ingest",
    }
    command = [sys.executable, "-m", "config.background", "--quiet", "worker"]
    options = ["--queues", "ingest", "--concurrency", "1", "--without-gossip", "--without-mingle"]
    process = subprocess.Popen([*command, *options], cwd=ROOT, env=environment, start_new_session=True)
    yield
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_the_example_is_checked_and_made_a_dataset_by_the_worker(worker: None, cast: Cast) -> None:
    live = LiveServer("127.0.0.1")
    try:
        client = openai.OpenAI(api_key=cast.owner.key, base_url=f"{live.url}/v1")
        made = client.files.create(file=EXAMPLE.open("rb"), purpose="fine-tune")
        done = client.files.wait_for_processing(made.id, poll_interval=0.5, max_wait_seconds=90)
        assert done.status == "processed", done.status_details
        assert done.to_dict()["x_findings"]["warning"] >= 4
    finally:
        live.stop()
    fixes = [
        {"fix": "trim"},
        {"fix": "drop_duplicates"},
        {"fix": "merge_labels", "labels": {"Refund_Status": "refund_status"}},
    ]
    dataset = cast.owner.api.post("/v1/datasets", {"file_id": made.id, "fixes": fixes}).json()
    deadline = time.monotonic() + 90
    while dataset["version"]["state"] == "building" and time.monotonic() < deadline:
        time.sleep(0.5)
        dataset = cast.owner.api.get(f"/v1/datasets/{dataset['id']}").json()
    assert dataset["version"]["state"] == "ready", dataset
    assert dataset["version"]["labels"].get("Refund_Status") is None
