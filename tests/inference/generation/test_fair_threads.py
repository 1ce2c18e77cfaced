"""Whose work is slow holds one thread; the others are for everybody else."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from inference.generation import fair_threads
from inference.generation.fair_threads import SLOW_SECONDS, FairThreads


@pytest.fixture
def threads() -> Iterator[FairThreads]:
    made = FairThreads(2, "test")
    yield made
    made.stop()


def test_many_slow_pieces_of_one_leave_a_thread_to_everybody_else(threads: FairThreads) -> None:
    go = threading.Event()
    running, most = 0, 0

    def slow() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        go.wait(10)
        time.sleep(2 * SLOW_SECONDS)
        running -= 1

    slow_ones = [threads.submit("loud", slow) for _ in range(20)]
    assert threads.submit("quiet", lambda: 7).result(5) == 7
    assert not any(one.done() for one in slow_ones)
    go.set()
    for one in slow_ones:
        one.result(10)
    assert most == 1


def test_those_who_wait_take_turns(threads: FairThreads) -> None:
    done: list[str] = []

    def piece(name: str) -> None:
        time.sleep(2 * SLOW_SECONDS)
        done.append(name)

    futures = [threads.submit(name, lambda name=name: piece(name)) for name in "aaaaaabc" + "d"]  # type: ignore[misc]
    for one in futures:
        one.result(10)
    assert {"b", "c", "d"} <= set(done[:6]) and done.count("a") == 6


def test_who_is_quick_may_have_every_thread(threads: FairThreads, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fair_threads, "SLOW_SECONDS", 2.0)  # whatever else the machine does meanwhile
    meet = threading.Barrier(2)
    threads.submit("one", lambda: None)

    def together() -> None:
        meet.wait(5)

    assert [threads.submit("one", work).result(5) for work in (lambda: None, lambda: None)] == [None, None]
    for one in [threads.submit("one", work) for work in (lambda: None, together, together)]:
        one.result(5)


def test_what_nobody_waits_for_is_not_done(threads: FairThreads) -> None:
    go, done = threading.Event(), []
    first = threads.submit("one", lambda: go.wait(10))
    second, third = (threads.submit("one", lambda number=number: done.append(number)) for number in (2, 3))  # type: ignore[misc]
    assert second.cancel()
    go.set()
    first.result(5)
    third.result(5)
    assert done == [3]


def test_a_failure_is_its_callers(threads: FairThreads) -> None:
    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        threads.submit("one", fail).result(5)
    assert threads.submit("one", lambda: 1).result(5) == 1
