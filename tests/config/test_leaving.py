"""Processes that are asked to leave before they are up: with status 0, having taken nothing."""

import asyncio
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from django.conf import settings

from config.processes import beat, worker
from config.runner import Console, Runner
from kit import heartbeat
from tests.conftest import Cast
from tests.training.background import until
from tests.training.making import empty_queue, queued, reload
from training.services.claiming import slots_keep

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow
WORKER = ["-m", "config.background", "--quiet", "worker", "--queues", "train", "--pool", "solo"]
BEAT = ["-m", "config.background", "--quiet", "beat"]
UP = ["manage.py", "up", "--only", "default"]


def hold() -> None:
    """As `config.runner` starts these: SIGTERM waits until it is taken up."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


def started(command: list[str], *, held: bool = False, **environment: str) -> "subprocess.Popen[str]":
    """A process on this run's engines, unless its environment says otherwise."""
    surroundings = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'platform'}",
        "TUNESMITH_HOME": str(settings.HOME),
        "WORKER_QUEUE": "train",
    }
    return subprocess.Popen(
        [sys.executable, "-u", *command],
        cwd=ROOT,
        env=surroundings | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=hold if held else None,
    )


def told(process: "subprocess.Popen[str]", words: str) -> None:
    """Wait until it says so."""
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line)
        if words in line:
            return
    raise AssertionError(f"it ended without {words!r}:\n{''.join(seen)}")


def left(process: "subprocess.Popen[str]", number: int = signal.SIGTERM) -> int:
    """Ask it to leave; its exit status."""
    process.send_signal(number)
    try:
        process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode


@pytest.mark.parametrize("command", [WORKER, BEAT], ids=["worker", "beat"])
def test_in_the_middle_of_its_imports_it_leaves_with_status_0(command: list[str]) -> None:
    process = started(command, DJANGO_SETTINGS_MODULE="tests.config.slow_settings")
    told(process, "importing")
    assert left(process) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["TERM", "INT"])
def test_the_runner_leaves_with_status_0_as_well(number: int) -> None:
    process = started(UP, DJANGO_SETTINGS_MODULE="tests.config.slow_settings")
    told(process, "importing")
    assert left(process, number) == 0


def test_a_worker_that_finds_no_redis_leaves_with_status_0() -> None:
    process = started(WORKER, REDIS_URL="redis://127.0.0.1:9/0")
    told(process, "Cannot connect")
    assert left(process) == 0


@pytest.mark.parametrize("name", ["train", "beat"])
def test_one_that_is_stopped_as_soon_as_it_is_started_leaves_with_status_0(name: str) -> None:
    made = beat() if name == "beat" else worker(name, gateway_url="http://127.0.0.1:8000")
    surroundings = {**made.environment, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'platform'}"}
    at_once = replace(made, ready=None, environment=surroundings)

    async def run() -> int | None:
        runner = Runner(Console(colour=False), ROOT)
        await runner.start(at_once)  # nobody waits until it is ready
        await runner.stop()
        return runner.children[name].returncode

    assert asyncio.run(run()) == 0


def test_a_worker_that_is_told_to_start_again_does_and_leaves_as_any_other() -> None:
    process = started(WORKER, TRAINING_HOST="again")

    def since() -> float:
        return max((one.since for one in heartbeat.alive() if one.pid == process.pid), default=0.0)

    until(since)
    first = since()
    process.send_signal(signal.SIGHUP)
    until(lambda: since() > first)
    assert left(process) == 0


def test_whenever_a_worker_is_asked_to_leave_no_job_is_left_with_it(cast: Cast) -> None:
    """Moments through the whole start, whatever this machine makes of them: each must do."""
    empty_queue()
    job = queued(cast.owner)
    slots_keep(host="leaving", count=1, kind="cpu-fp32", gpu_class="cpu")
    for hundredths in (5, 20, 60, 120, 200):
        process = started(WORKER, held=True, TRAINING_HOST="leaving")
        try:
            process.wait(timeout=hundredths / 100)
        except subprocess.TimeoutExpired:
            assert left(process) == 0, hundredths
        row = reload(cast.owner, job.public_id)
        assert (row.state, row.lease_token) == ("queued", None), hundredths
