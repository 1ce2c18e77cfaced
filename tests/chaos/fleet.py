"""A private installation under load: engines to hurt, workers in processes of their own, a clock that rings the ticks.

Each worker is a host by itself: a name, a scratch folder, and a proxy of its own in front of PostgreSQL and of Redis.
Leases are three seconds long, so that everything happens in seconds. Jobs come in through the API of this process.
"""

import contextlib
import json
import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import InterfaceError, OperationalError, close_old_connections, connections

from billing.services.entitlements import override_set
from kit import outbox
from tenants.scope import ops_scope, tenant_scope
from tests.chaos.host import SECONDS, Host, processes_in
from tests.chaos.installation import Installation
from tests.conftest import Person, make_person
from tests.training import fake_lab
from tests.training.background import until
from tests.training.making import BASE, checked_file, empty_queue, reload
from training import states, tasks
from training.models import Job, Slot
from training.services import sharing_set
from training.services.queueing import job_validate
from training.services.sweeping import leases_sweep

AWAY = (OperationalError, InterfaceError)
TICK = 0.4
JOBS = "/v1/fine_tuning/jobs"
LONGEST_ANSWER = 30.0


@dataclass(slots=True)
class Accepted:
    """A job the API said yes to."""

    person: Person
    id: str


@dataclass(slots=True)
class Answer:
    """What the API said, and how long it took."""

    what: str
    status: int
    seconds: float


class Ticker:
    """What beat, the default worker and the ingest worker do, in a thread: ticks, sweeps, the outbox, validation."""

    def __init__(self) -> None:
        self.paused = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ticker", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """For good."""
        self._stop.set()
        self._thread.join(30)

    def _run(self) -> None:
        while not self._stop.wait(TICK):
            if self.paused.is_set():
                continue
            for step in (self._validate, tasks.tick, leases_sweep, outbox.drain):
                # A broker or a database that is away is what these tests are about: the next round does the work.
                with contextlib.suppress(Exception):
                    step()
                    continue
                for connection in connections.all(initialized_only=True):
                    connection.close()
        connections.close_all()

    def _validate(self) -> None:
        with ops_scope("jobs to validate, for a test"):
            waiting = list(Job.ops.filter(state=states.VALIDATING).values_list("tenant_id", "pk"))
        for tenant_id, job_id in waiting:
            job_validate(tenant_id=tenant_id, job_id=job_id)


@dataclass(slots=True)
class Fleet:
    """Everything, and the words to use it."""

    home: Path
    seed: int
    engines: Installation
    people: list[Person] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    hosts: list[Host] = field(default_factory=list)
    jobs: list[Accepted] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    drained: list[float] = field(default_factory=list)
    """Seconds from the end of each fault to the end of its last job."""
    before: dict[str, int] = field(default_factory=dict)
    ticker: Ticker | None = None
    dice: random.Random = field(default_factory=random.Random)

    @classmethod
    def open(cls, engines: Installation, *, hosts: int, people: int, seed: int) -> "Fleet":
        """Tenants and workers on these engines; returns once the workers have said that they are there."""
        home = Path(settings.HOME)
        for pid in processes_in(home / "work"):  # of a run that was killed
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(home / "work", ignore_errors=True)
        fleet = cls(home, seed, engines, dice=random.Random(seed))
        for name, seconds in SECONDS.items():
            fleet.before[name] = getattr(settings, name)
            setattr(settings, name, seconds)
        fleet.engines.broker().flushall()
        empty_queue()
        for number in range(people):
            person = make_person(f"chaos{number}")
            with tenant_scope(person.tenant.id):
                limits = {"queued_jobs": 1000, "parallel_jobs": 3}
                override_set(reason="a test of faults", created_by="test", limits=limits)
                sharing_set(tenant=person.tenant, allowed=True)
            fleet.people.append(person)
            fleet.files[person.key] = checked_file(person).public_id
        fleet.hosts = [Host(fleet.home, f"host{number}", seed=seed + number) for number in range(hosts)]
        fleet.heal()
        fleet.ticker = Ticker()
        fleet.ready(seconds=90)
        return fleet

    def close(self) -> None:
        """Leave nothing running."""
        if self.ticker is not None:
            self.ticker.stop()
        for name, seconds in self.before.items():
            setattr(settings, name, seconds)
        for host in self.hosts:
            host.leave()
        for connection in connections.all(initialized_only=True):
            connection.close()

    def heal(self) -> None:
        """Every fault ends; every host has a worker of the usual kind, and it has said that it is there."""
        self.engines.heal()
        # Where three jobs were made to crash, the place is parked: staff have looked, and give it back.
        self.steady(
            lambda: Slot.objects.exclude(parked_at=None).update(
                parked_at=None, parked_because="", crashed_jobs=[], failed_attempts={}
            )
        )
        for host in self.hosts:
            host.heal()
        if self.ticker is not None:
            self.ready()

    def ready(self, *hosts: Host, seconds: float = 60.0) -> None:
        """Until the workers of these hosts, or of all, have come as far as to look for work."""

        def there() -> bool:
            rows = self.steady(lambda: list(Slot.objects.filter(draining=False).values_list("host", "heartbeat_at")))
            seen = dict(rows)
            return all(host.name in seen and seen[host.name] > host.started for host in hosts or self.hosts)

        until(there, seconds)

    # ── Through the API ──

    def call(self, person: Person, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """One call as a client makes it; its answer is kept for the invariants."""
        close_old_connections()  # as a server does between requests, and Django's test client does not
        began = time.monotonic()
        answer = person.api.request(method, path, body, **headers)
        if answer.status_code == 503:
            for connection in connections.all(initialized_only=True):
                connection.close()
        self.answers.append(Answer(f"{method} {path}", answer.status_code, time.monotonic() - began))
        return answer

    def submit(
        self, number: int = 0, *, seed: int = fake_lab.STEADY, method: str = "head", patience: float = 40.0
    ) -> Accepted:
        """A job of one tenant, asked for again under the same Idempotency-Key as long as the answer is a 503."""
        person = self.people[number % len(self.people)]
        body = {"model": BASE, "training_file": self.files[person.key], "x_method": method, "seed": seed}
        key = f"chaos-{self.dice.getrandbits(64):x}"
        deadline = time.monotonic() + patience
        while True:
            answer = self.call(person, "POST", JOBS, body, Idempotency_Key=key)
            if answer.status_code == 200:
                self.jobs.append(Accepted(person, answer.json()["id"]))
                return self.jobs[-1]
            assert answer.status_code == 503 and time.monotonic() < deadline, answer.content
            time.sleep(0.3)

    def cancel(self, job: Accepted) -> int:
        """Ask for an end; the status."""
        return int(self.call(job.person, "POST", f"{JOBS}/{job.id}/cancel").status_code)

    # ── What the ledger says ──

    def steady(self, look: Any, seconds: float = 60.0) -> Any:
        """What `look` finds, asked for again while the database is away."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                return look()
            except AWAY:
                assert time.monotonic() < deadline, "the database stays away"
                for connection in connections.all(initialized_only=True):
                    connection.close()
                time.sleep(0.2)

    def waiting(self) -> int:
        """Accepted jobs of the fleet's tenants that have not ended."""

        def count() -> int:
            with ops_scope("count what has not ended"):
                tenants = [person.tenant.id for person in self.people]
                return Job.ops.filter(tenant_id__in=tenants).exclude(state__in=states.FINAL).count()

        found: int = self.steady(count)
        return found

    def row(self, job: Accepted) -> Job:
        """The job as the ledger has it."""
        found: Job = self.steady(lambda: reload(job.person, job.id))
        return found

    def host_of(self, job: Accepted) -> Host:
        """Where it runs, or ran."""
        name = self.row(job).lease_owner.split("/", 1)[0]
        return next(host for host in self.hosts if host.name == name)

    def running(self, job: Accepted, *, step: int = 11, attempt: int = 0, seconds: float = 40.0) -> Job:
        """The job once it trains (in a later attempt than `attempt`) and has a checkpoint."""

        def ready() -> bool:
            row = self.row(job)
            return (
                row.state == states.RUNNING and row.attempt > attempt and row.step >= step and row.checkpoint_step > 0
            )

        until(ready, seconds)
        return self.row(job)

    def ended(self, *jobs: Accepted, seconds: float = 90.0) -> list[str]:
        """The states of jobs once all have ended; all accepted ones where none is named."""
        wanted = list(jobs) or self.jobs
        keys = {job.id: job for job in wanted}
        deadline = time.monotonic() + seconds
        while True:
            found = {name: self.row(job) for name, job in keys.items()}
            if all(row.is_final for row in found.values()):
                return [found[job.id].state for job in wanted]
            if time.monotonic() > deadline:
                waits = [
                    (name, row.state, row.attempt, row.lease_owner) for name, row in found.items() if not row.is_final
                ]
                words = "\n".join(f"--- {host.name}\n{host.last_words()}" for host in self.hosts)
                raise AssertionError(f"these never ended: {waits}\n{words}")
            time.sleep(0.2)


@contextlib.contextmanager
def meanwhile(what: Any, *, every: float) -> Iterator[None]:
    """Do something again and again beside what happens inside."""
    stop = threading.Event()

    def go() -> None:
        try:
            while not stop.wait(every):
                what()
        finally:
            connections.close_all()

    thread = threading.Thread(target=go, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(30)


def chaos(**changes: Any) -> str:
    """The word CHAOS of a worker's environment, see tests/chaos/worker.py."""
    return json.dumps(changes)
