"""A worker beside the test, and words to wait for what it does."""

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.conf import settings as configured
from django.db import connections

from tenants.scope import ops_scope
from tests import doorbells
from tests.conftest import Person
from tests.training.making import empty_queue, reload
from training import states
from training.models import Job, JobEvent, Slot
from training.worker import duty, trainer


def rehearse(settings: Any, monkeypatch: Any, *, slots: int = 1) -> None:
    """The fake lab in place of the real one, short times, so many places, and no job of another test in the queue. Who
    sets `duty.draining` clears it again."""
    monkeypatch.setattr(trainer, "MODULE", "tests.training.fake_lab")
    monkeypatch.setattr(trainer, "CODE", ("tests",))
    settings.TRAINING_HEARTBEAT_SECONDS = 1
    settings.TRAINING_RETRY_SECONDS = 0
    settings.TRAINING_SLOTS = slots
    empty_queue()
    duty.draining.clear()


@contextlib.contextmanager
def worker_of_all(**environment: str) -> Iterator[None]:
    """One worker for every queue, in a process of its own; no job and no doorbell of another test in its way."""
    empty_queue()
    doorbells.forget("train", "ingest", "default")
    environ = os.environ | {
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "TUNESMITH_HOME": str(configured.HOME),
        "PYTHONPATH": f"{configured.ROOT}:{configured.ROOT / 'platform'}",
        "WORKER_QUEUE": "train",
        "TRAINING_HEARTBEAT_SECONDS": "1",
    }
    command = [sys.executable, "-m", "config.background", "--quiet", "worker", "--pool", "solo"]
    command += ["--queues", "train,ingest,default", "--without-gossip", "--without-mingle", "--loglevel", "WARNING"]
    process = subprocess.Popen(command, env=environ | environment, cwd=configured.ROOT)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(40)
        finally:
            process.kill()


class Background:
    """A worker in a thread of this process."""

    def __init__(self) -> None:
        self.thread = threading.Thread(target=self._work)
        self.thread.start()

    def _work(self) -> None:
        try:
            duty.work_once()
        finally:
            connections.close_all()

    def join(self) -> None:
        """Until it has finished its job."""
        self.thread.join(60)
        assert not self.thread.is_alive()


def until(what: Any, seconds: float = 40.0) -> None:
    """Wait for something to become true."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, f"it never happened in {seconds:g} s; {the_room()}"
        time.sleep(0.05)


def the_room() -> str:
    """What a reader of a failed test has to know: the jobs that moved last, of whichever test, and what they said."""
    with ops_scope("tell why a test waits in vain"):
        jobs = list(Job.ops.exclude(heartbeat_at=None, state__in=states.FINAL).order_by("-created_at")[:5])
        lines = []
        for job in jobs:
            said = JobEvent.ops.filter(job_id=job.pk, type="message").order_by("-seq").values_list("message", flat=True)
            where = f"{job.state}, attempt {job.attempt}, step {job.step} of {job.total_steps}, held by"
            lines += [f"{job.public_id}: {where} {job.lease_owner or 'nobody'}", *(f"    {line}" for line in said[:6])]
        places = [f"{slot} for {slot.job_id}" for slot in Slot.objects.all()]
    return "\n".join(["the newest jobs are", *lines, f"the places are {places}"])


def trainer_pid(job: Job) -> int:
    """The process that trains a job, found by its config's path."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words[0].endswith(b"bwrap"):  # it runs the trainer and is none
            continue
        if any(str(job.pk).encode() in word and word.endswith(b"config.json") for word in words):
            return int(folder.name)
    raise AssertionError("no trainer is running")


def has_checkpoint(person: Person, job: Job) -> bool:
    """Whether a checkpoint of the job is on record."""
    return reload(person, job.public_id).checkpoint_step > 0
