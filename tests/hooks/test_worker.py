"""The whole way with real workers: a doorbell rings, a delivery is sent; a worker that is killed loses none."""

import datetime as dt
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from django.conf import settings

from kit.clock import now
from tests import doorbells
from tests.conftest import Cast
from tests.hooks.receiver import Receiver, Taken, change, happen, log, row_of, subscribe
from tests.training.background import until

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow


def worker() -> "subprocess.Popen[bytes]":
    """A worker of the queue `default`, on this run's engines."""
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'platform'}",
        "TUNESMITH_HOME": str(settings.HOME),
        "WORKER_QUEUE": "default",
    }
    command = [sys.executable, "-m", "config.background", "--quiet", "worker"]
    options = ["--queues", "default", "--concurrency", "2", "--without-gossip", "--without-mingle"]
    return subprocess.Popen([*command, *options], cwd=ROOT, env=environment, start_new_session=True)


def end(process: "subprocess.Popen[bytes]", number: int) -> None:
    """Stop it and its children."""
    os.killpg(process.pid, number)
    process.wait(timeout=30)


def test_a_doorbell_sends_within_seconds_and_a_killed_worker_loses_nothing(cast: Cast, receiver: Receiver) -> None:
    doorbells.forget("default")
    made = subscribe(cast.owner, receiver.url)
    first = worker()
    try:
        happen(cast.owner)
        until(lambda: log(cast.owner, made)[0]["state"] == "delivered")
        arrived: list[str] = []

        def never(taken: Taken) -> tuple[int, dict[str, str], bytes]:
            arrived.append(taken.headers["webhook-id"])
            time.sleep(8)
            return 204, {}, b""

        receiver.answer = never
        event = happen(cast.owner)
        until(lambda: arrived == [event])
    finally:
        end(first, signal.SIGKILL)
    assert row_of(cast.owner, made).lease is not None, "nobody gave the endpoint back"
    receiver.says(204)
    change(cast.owner, made, busy_until=now() - dt.timedelta(seconds=1))
    from kit import redis

    redis.client().delete("hooks:run:0", "hooks:run:1")  # a minute has passed
    second = worker()
    try:
        happen(cast.owner)
        until(lambda: {one["state"] for one in log(cast.owner, made)} == {"delivered"})
    finally:
        end(second, signal.SIGTERM)
    assert [one.headers["webhook-id"] for one in receiver.taken].count(event) == 2, "at least once, under one id"
