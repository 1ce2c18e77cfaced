"""A real worker is killed in the middle, again and again: every line stands in the output once and is billed once."""

from __future__ import annotations

import datetime as dt
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from pytest_django.live_server_helper import LiveServer

from batches.credential import request_id_of
from batches.models import Batch, Segment
from batches.services import results
from batches.services.turns import turn_claim
from batches.tasks import tick
from batches.worker import asking, duty
from kit import storage
from kit.clock import now
from tenants.scope import tenant_scope
from tests.batches.making import change, chat, check_books, client, events, made, read, row
from tests.gateway.writing_engine import Wired, alive, on_plan, until

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("worker")]  # starts real processes


@contextmanager
def process(writing: Wired) -> Iterator[subprocess.Popen[bytes]]:
    """A worker of the queue `batch`, as `up` starts it; killed at the end."""
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'platform'}",
        "TUNESMITH_HOME": str(settings.HOME),
        "WORKER_QUEUE": "batch",
        "GATEWAY_URL": writing.url,
    }
    command = [sys.executable, "-m", "config.background", "--quiet", "worker", "--queues", "batch"]
    options = ["--pool", "threads", "--concurrency", "2", "--without-gossip", "--without-mingle"]
    started = subprocess.Popen([*command, *options], cwd=ROOT, env=environment, start_new_session=True)
    try:
        yield started
    finally:
        if started.poll() is None:
            os.killpg(started.pid, signal.SIGKILL)
        started.wait(30)


def checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check the file of the waiting batch here: the base that writes is known to this process alone."""
    monkeypatch.setattr(asking.Asker, "run", lambda self: asking.Pause())
    turn = turn_claim()
    assert turn is not None
    duty.serve(turn)
    monkeypatch.undo()


def lease_over(batch: Any) -> None:
    """Half a minute has passed."""
    change(batch, lease_expires_at=now() - dt.timedelta(seconds=1))


def ticking(true: Callable[[], Any], seconds: float) -> None:
    """Wait for a condition while somebody rings, as beat does."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        tick()
        time.sleep(0.5)


@pytest.mark.chaos
def test_a_killed_workers_batch_goes_on_and_nothing_is_done_or_billed_twice(
    server: LiveServer, writing: Wired, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = on_plan("killed")
    official, word = client(server, ada), writing.word()
    writing.engine.plan(word, "yes", " and", " no", each_s=0.05)
    batch = made(official, [chat(f"{i}", word) for i in range(600)])
    checked(monkeypatch)
    chance = random.Random(7)
    for turn in range(3):
        with process(writing) as worker:
            before = row(ada, batch).ended_lines
            ticking(lambda before=before: row(ada, batch).ended_lines > before, 40)
            time.sleep(chance.uniform(0.0, 1.0))
            os.killpg(worker.pid, signal.SIGKILL)
            worker.wait(30)
        found = row(ada, batch)
        assert found.state == Batch.State.IN_PROGRESS, f"it was through before kill {turn + 1}"
        lease_over(batch)
    with process(writing):
        ticking(lambda: row(ada, batch).is_final, 60)
    done = official.batches.retrieve(batch.id)
    assert done.status == "completed" and row(ada, batch).turns == 5
    answers = read(official, done.output_file_id)
    assert sorted(answers, key=int) == [str(i) for i in range(600)]
    found_events = events(ada, 600)
    assert len(found_events) == 600
    assert {one.request_id for one in found_events} == {
        line["response"]["request_id"] for line in answers.values()
    }  # fmt: skip
    assert len(writing.engine.of(word)) > 600, "some were asked again: their answers were lost"
    until(lambda: not alive(ada))
    check_books(ada)


def test_a_result_that_is_lost_after_it_was_metered_is_asked_again_and_charged_once(
    server: LiveServer, writing: Wired, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worst moment: the usage is recorded, the answer is here, and the worker dies before it is stored."""
    ada = on_plan("lost")
    official, word = client(server, ada), writing.word()
    writing.engine.plan(word, "yes")
    batch = made(official, [chat(f"{i}", word) for i in range(8)])

    class Died(BaseException):
        """As if by kill -9: nothing catches it."""

    def dies(*_: Any) -> None:
        raise Died

    monkeypatch.setattr(asking, "results_keep", dies)
    with pytest.raises(Died):
        duty.work()
    monkeypatch.undo()
    assert len(events(ada, 8)) == 8 and row(ada, batch).completed == 0
    change(batch, lease_expires_at=now() - dt.timedelta(seconds=1))
    duty.work()
    done = official.batches.retrieve(batch.id)
    assert done.status == "completed" and len(read(official, done.output_file_id)) == 8
    assert len(writing.engine.of(word)) == 16
    time.sleep(2)  # what was asked again is shipped, and dropped
    assert len(events(ada, 8)) == 8
    assert {one.request_id for one in events(ada)} == {request_id_of(row(ada, batch).pk, n) for n in range(1, 9)}
    check_books(ada)


def test_an_object_without_its_row_is_nobodys_and_is_removed(
    server: LiveServer, writing: Wired, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = on_plan("orphans")
    official, word = client(server, ada), writing.word()
    writing.engine.plan(word, "yes")
    batch = made(official, [chat(f"{i}", word) for i in range(8)])

    class Died(BaseException):
        """As if by kill -9."""

    def dies(*_: Any, **__: Any) -> None:
        raise Died

    monkeypatch.setattr(results, "fenced_update", dies)
    with pytest.raises(Died):
        duty.work()
    monkeypatch.undo()
    folder = f"t/{ada.tenant.id}/batches/{row(ada, batch).pk}"
    assert pieces(folder) == 1
    with tenant_scope(ada.tenant.id):
        assert not Segment.objects.exists()
    change(batch, lease_expires_at=now() - dt.timedelta(seconds=1))
    duty.work()
    done = official.batches.retrieve(batch.id)
    assert len(read(official, done.output_file_id)) == 8 and not pieces(folder)


@pytest.mark.chaos
def test_a_worker_killed_while_it_ends_a_batch_leaves_nothing_behind(
    server: LiveServer, writing: Wired, monkeypatch: pytest.MonkeyPatch
) -> None:
    from batches.services import endings

    ada = on_plan("ends")
    official, word = client(server, ada), writing.word()
    writing.engine.plan(word, "yes")
    batch = made(official, [chat(f"{i}", word) for i in range(8)])

    class Died(BaseException):
        """As if by kill -9."""

    def dies(*_: Any) -> None:
        raise Died

    for name in ("_end", "batch_sweep"):  # before the commit, and right after it
        monkeypatch.setattr(endings, name, dies)
        with pytest.raises(Died):
            duty.work()
        monkeypatch.undo()
        if name == "_end":
            assert row(ada, batch).state == Batch.State.FINALIZING
            change(batch, lease_expires_at=now() - dt.timedelta(seconds=1))
    done = official.batches.retrieve(batch.id)
    assert done.status == "completed" and len(read(official, done.output_file_id)) == 8
    assert len(official.files.list(purpose="batch_output").data) == 1
    with tenant_scope(ada.tenant.id):
        assert Segment.objects.exists()
    endings.leftovers_sweep()
    with tenant_scope(ada.tenant.id):
        assert not Segment.objects.exists()
    assert not pieces(f"t/{ada.tenant.id}/batches/{row(ada, batch).pk}")


def pieces(folder: str) -> int:
    """Objects of a batch in the store."""
    path = storage.folder_path(folder)
    assert path is not None
    return len(list(path.glob("*"))) if path.exists() else 0


def test_the_worker_is_started_with_everything_else() -> None:
    from config.processes import processes

    (worker,) = (one for one in processes({"batch", "gateway"}, host="0.0.0.0", port=8000) if one.name == "batch")
    assert worker.environment == {"WORKER_QUEUE": "batch", "GATEWAY_URL": "http://127.0.0.1:8001"}
    (worker,) = (one for one in processes({"batch", "web"}, host="127.0.0.1", port=8000) if one.name == "batch")
    assert worker.environment["GATEWAY_URL"] == "http://127.0.0.1:8000"
