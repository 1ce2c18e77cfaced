"""The API as clients meet it: a process of its own that dies, and whose database does as told and cannot say so.

A client that repeats its Idempotency-Key gets one job, whatever became of the answer to its first try.
"""

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException
from typing import Any

import pytest

from tests.chaos.fleet import JOBS, Accepted, Fleet
from tests.chaos.host import Host
from tests.chaos.invariants import check
from tests.chaos.proxy import NONE, Fault
from tests.conftest import Person
from tests.journeys.conftest import free_ports
from tests.training import fake_lab
from tests.training.background import until
from tests.training.making import BASE
from training import states

pytestmark = pytest.mark.chaos
CALL_SECONDS = 40.0


class Web(Host):
    """A web process behind lines of its own."""

    def __init__(self, fleet: Fleet) -> None:
        super().__init__(fleet.home, "web", seed=fleet.seed)
        self.fleet = fleet
        self.port = free_ports(1)
        self.statuses: list[int] = []
        """Of every call; 0 where none came."""

    def open(self) -> None:
        """Until it answers."""
        words = ("config.asgi:application", "--port", str(self.port), "--lifespan", "off", "--log-level", "error")
        self.run("uvicorn", *words, GATEWAY_IN_WEB="false")
        until(lambda: self._ask("/healthz", {}, None)[0] == 200, 60)

    def call(self, person: Person, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """Status and answer; 0 and None where the connection broke."""
        words = {name.replace("_", "-"): value for name, value in headers.items()}
        words |= {"Authorization": f"Bearer {person.key}", "Content-Type": "application/json"}
        status, answer = self._ask(path, words, body)
        self.statuses.append(status)
        return status, answer

    def _ask(self, path: str, headers: dict[str, str], body: Any) -> tuple[int, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, headers)
        try:
            with urllib.request.urlopen(request, timeout=CALL_SECONDS) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        except (OSError, HTTPException, ValueError):
            return 0, None

    def submit(self, number: int) -> Accepted:
        """A job, asked for under one key until the answer is a yes."""
        fleet = self.fleet
        person = fleet.people[number % len(fleet.people)]
        file = fleet.files[person.key]
        body = {"model": BASE, "training_file": file, "x_method": "head", "seed": fake_lab.WELL}
        key, deadline = f"web-{fleet.dice.getrandbits(64):x}", time.monotonic() + 60
        while True:
            status, answer = self.call(person, JOBS, body, Idempotency_Key=key)
            if status == 200:
                fleet.jobs.append(Accepted(person, answer["id"]))
                return fleet.jobs[-1]
            assert status in (0, 503) and time.monotonic() < deadline, (status, answer)
            time.sleep(0.2)


@pytest.fixture
def web(fleet: Fleet) -> Iterator[Web]:
    """One that answers."""
    made = Web(fleet)
    made.open()
    yield made
    made.leave()


def listed(fleet: Fleet) -> int:
    """How many jobs all tenants of the fleet can see."""
    pages = (fleet.call(person, "GET", f"{JOBS}?limit=100").json() for person in fleet.people)
    return sum(len(page["data"]) for page in pages)


def test_a_job_whose_acceptance_could_not_be_told_is_there_once(fleet: Fleet, web: Web) -> None:
    before = listed(fleet)
    web.postgres.fault = Fault(lose_commits=0.3)
    made = [web.submit(number) for number in range(12)]
    web.postgres.fault = NONE
    assert web.postgres.commits_lost > 3 and 503 in web.statuses and 500 not in web.statuses
    assert len({job.id for job in made}) == 12 and listed(fleet) == before + 12
    assert set(fleet.ended(*made)) == {states.SUCCEEDED}
    check(fleet)


def test_a_web_process_that_is_killed_in_the_middle_of_answers_accepts_each_job_once(fleet: Fleet, web: Web) -> None:
    before, over = listed(fleet), threading.Event()

    def kill() -> None:
        while not over.wait(fleet.dice.uniform(0.05, 0.6)):
            web.kill()
            web.open()

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        made = [web.submit(number) for number in range(20)]
    finally:
        over.set()
        killer.join(90)
    assert 0 in web.statuses and set(web.statuses) <= {0, 200, 503}
    assert len({job.id for job in made}) == 20 and listed(fleet) == before + 20
    assert set(fleet.ended(*made)) == {states.SUCCEEDED}
    check(fleet)
