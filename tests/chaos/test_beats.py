"""What rings: two beats instead of one, and none at all."""

import signal
from collections.abc import Iterator

import pytest

from tests.chaos.fleet import Fleet
from tests.chaos.host import SECONDS, Host
from tests.chaos.invariants import check
from tests.training import fake_lab
from tests.training.background import until
from training import states

pytestmark = pytest.mark.chaos
WORKER = ("config.background", "--quiet", "worker", "--loglevel", "WARNING", "--without-gossip", "--without-mingle")


@pytest.fixture
def silence(fleet: Fleet) -> Iterator[None]:
    """This process rings and sweeps nothing."""
    assert fleet.ticker is not None
    fleet.ticker.paused.set()
    yield
    fleet.ticker.paused.clear()


@pytest.fixture
def beats(fleet: Fleet, silence: None) -> Iterator[list[Host]]:
    """Two real ones, and a real worker for what they ring for."""
    made = [Host(fleet.home, name, seed=fleet.seed) for name in ("beat0", "beat1", "rung")]
    for beat in made[:2]:
        schedule = str(fleet.home / "chaos" / beat.name)
        beat.run("config.background", "--quiet", "beat", "--loglevel", "WARNING", "--schedule", schedule, "--pidfile=")
    words = ("--queues", "default,ingest", "--hostname", "rung@%h", "--pool", "threads", "--concurrency", "3")
    made[2].run(*WORKER, *words, WORKER_QUEUE="default", **{name: str(value) for name, value in SECONDS.items()})
    yield made
    for host in made:
        host.leave()


def test_two_beats_ring_twice_and_nothing_happens_twice(fleet: Fleet, beats: list[Host]) -> None:
    jobs = [fleet.submit(number, seed=fake_lab.STEADY) for number in range(4)]
    dead = fleet.submit(4, seed=fake_lab.LONG)
    fleet.running(dead, seconds=90)
    host = fleet.host_of(dead)
    host.kill()
    assert fleet.running(dead, attempt=1).attempt == 2, "found dead by one of them, and once"
    host.start()
    assert fleet.cancel(dead) == 200
    assert set(fleet.ended(*jobs, seconds=120)) == {states.SUCCEEDED}
    check(fleet)
    assert all(beat.runs for beat in beats)


def test_a_beat_that_dies_in_the_middle_leaves_the_other_to_ring(fleet: Fleet, beats: list[Host]) -> None:
    job = fleet.submit(0, seed=fake_lab.WELL)
    fleet.ended(job, seconds=90)
    beats[0].signal(signal.SIGKILL)
    jobs = [fleet.submit(number, seed=fake_lab.WELL) for number in range(3)]
    assert set(fleet.ended(*jobs)) == {states.SUCCEEDED}


def test_without_any_beat_workers_still_take_what_waits_and_nobody_loses_a_run(fleet: Fleet) -> None:
    jobs = [fleet.submit(number, seed=fake_lab.STEADY) for number in range(5)]
    until(lambda: all(fleet.row(job).state != states.VALIDATING for job in jobs))
    assert fleet.ticker is not None
    fleet.ticker.paused.set()
    try:
        fleet.engines.broker().flushall()  # no doorbell either
        assert set(fleet.ended(*jobs, seconds=120)) == {states.SUCCEEDED}
        assert {fleet.row(job).attempt for job in jobs} == {1}
    finally:
        fleet.ticker.paused.clear()
    check(fleet)
