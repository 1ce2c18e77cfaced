"""What keeps a long batch from delaying the answers of others on the same cores."""

from __future__ import annotations

import asyncio
import ctypes
import os
import platform
import struct
import threading

import pytest

from inference.handover import Handover
from inference.preemption import LONGEST_S, take_slice

KERNEL = tuple(int(part) for part in platform.release().split("-")[0].split(".")[:2] if part.isdigit())
GET_ATTRIBUTES = {"x86_64": 315, "aarch64": 275}.get(platform.machine())


def slice_of_this_thread() -> float:
    """Seconds, as the kernel says."""
    attributes = ctypes.create_string_buffer(48)
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.syscall(GET_ATTRIBUTES, 0, attributes, len(attributes), 0) == 0
    return float(struct.unpack("=IIQiIQQQ", attributes.raw)[5]) / 1e9


@pytest.mark.skipif(KERNEL < (6, 12) or GET_ATTRIBUTES is None, reason="slices of threads came with Linux 6.12")
def test_a_thread_takes_the_longest_slice_and_gives_it_back():
    found = []

    def work() -> None:
        usual = slice_of_this_thread()
        os.setpriority(os.PRIO_PROCESS, 0, 3)
        assert take_slice(LONGEST_S)
        found.append((usual, slice_of_this_thread(), os.getpriority(os.PRIO_PROCESS, 0)))
        take_slice(0)
        found.append((usual, slice_of_this_thread(), os.getpriority(os.PRIO_PROCESS, 0)))

    thread = threading.Thread(target=work)  # its priority, which nobody can raise again, goes with it
    thread.start()
    thread.join()
    (usual, taken, nice), (_, given_back, nice_after) = found
    assert taken == LONGEST_S > usual
    assert given_back == usual
    assert nice == nice_after == 3, "how much of the processor a thread gets is not touched"


def test_a_thread_under_another_policy_is_left_alone():
    found = []

    def work() -> None:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        found.extend([take_slice(LONGEST_S), os.sched_getscheduler(0)])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [False, os.SCHED_IDLE]


def test_what_many_threads_hand_over_runs_on_the_loop_each_in_its_order():
    async def main() -> list[tuple[int, int]]:
        ran: list[tuple[int, int]] = []
        handover, loop_thread = Handover(asyncio.get_running_loop()), threading.get_ident()

        def put(name: int, number: int) -> None:
            def run() -> None:
                assert threading.get_ident() == loop_thread
                ran.append((name, number))

            handover.put(run)

        def work(name: int) -> None:
            for number in range(500):
                put(name, number)

        await asyncio.gather(*(asyncio.to_thread(work, name) for name in range(4)))
        handover.close()
        await asyncio.sleep(0)
        return ran

    ran = asyncio.run(main())
    for name in range(4):
        assert [number for who, number in ran if who == name] == list(range(500))


def test_more_than_a_pipe_holds_waits_for_a_busy_loop():
    async def main() -> int:
        ran: list[int] = []
        handover = Handover(asyncio.get_running_loop())
        for number in range(70_000):  # a pipe holds 65,536 bytes, and nobody reads it meanwhile
            handover.put(lambda number=number: ran.append(number))
        while len(ran) < 70_000:
            await asyncio.sleep(0)
        handover.close()
        return ran[-1]

    assert asyncio.run(main()) == 69_999


def test_one_that_fails_keeps_nobody_else_from_running():
    async def main() -> list[str]:
        ran: list[str] = []
        loop, failures = asyncio.get_running_loop(), []
        loop.set_exception_handler(lambda _, context: failures.append(str(context["exception"])))
        handover = Handover(loop)
        handover.put([].pop)
        handover.put(lambda: ran.append("after"))
        while not ran:
            await asyncio.sleep(0)
        handover.close()
        handover.put(lambda: ran.append("too late"))
        await asyncio.sleep(0)
        return ran + failures

    assert asyncio.run(main()) == ["after", "pop from empty list"]
