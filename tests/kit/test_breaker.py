"""A server that hangs is asked by one caller at a time, and now and then."""

import os
import signal
from collections.abc import Iterator

import pytest
from django.conf import settings
from redis import Redis

from kit import outbox, redis
from kit.breaker import PAUSE_SECONDS, SLOW_SECONDS, Breaker, Resting
from kit.models import OutboxEntry


class Hand:
    """A clock that stands still."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        """Now."""
        return self.seconds


def fails(breaker: Breaker, clock: Hand, *, after: float) -> None:
    with pytest.raises(OSError), breaker.asking():
        clock.seconds += after
        raise OSError


def test_after_a_slow_failure_nobody_asks_for_a_while_and_then_one_does() -> None:
    clock = Hand()
    breaker = Breaker(clock)
    fails(breaker, clock, after=SLOW_SECONDS + 1)
    with pytest.raises(Resting), breaker.asking():
        pytest.fail("it was asked")
    clock.seconds += PAUSE_SECONDS
    with breaker.asking():  # one asks for all
        with pytest.raises(Resting), breaker.asking():
            pytest.fail("two asked")
    with breaker.asking():
        pass


def test_one_that_asks_in_vain_starts_another_pause() -> None:
    clock = Hand()
    breaker = Breaker(clock)
    fails(breaker, clock, after=SLOW_SECONDS + 1)
    clock.seconds += PAUSE_SECONDS
    fails(breaker, clock, after=SLOW_SECONDS + 1)
    with pytest.raises(Resting), breaker.asking():
        pytest.fail("it was asked")


def test_a_failure_that_let_nobody_wait_keeps_nobody_away() -> None:
    clock = Hand()
    breaker = Breaker(clock)
    for _ in range(3):
        fails(breaker, clock, after=0)
    asked = False
    with breaker.asking():
        asked = True
    assert asked


@pytest.fixture
def _frozen() -> Iterator[None]:
    pid = Redis.from_url(settings.REDIS_URL).info()["process_id"]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.slow
@pytest.mark.usefixtures("_frozen")
def test_of_a_redis_that_hangs_only_the_first_call_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis, "_breaker", Breaker())
    monkeypatch.setattr(outbox, "_broker", Breaker())
    assert not redis.publish("nobody", "hears") and not redis.set_for("x", "y", seconds=5)
    with pytest.raises(Resting), redis._breaker.asking():
        pytest.fail("it was asked")
    entry = OutboxEntry.objects.create(task="training.work", queue="train", arguments=[])
    assert not outbox._publish(entry)
    with pytest.raises(Resting), outbox._broker.asking():
        pytest.fail("it was asked")
    assert not outbox._publish(entry) and OutboxEntry.objects.filter(pk=entry.pk).exists()
    entry.delete()
