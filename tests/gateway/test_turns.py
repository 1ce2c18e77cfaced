"""So much at a time under one name: in order, whatever leaves in between, and nothing is kept of what is over."""

from __future__ import annotations

import asyncio
import random

import pytest

from gateway.turns import Turns


def test_small_work_goes_side_by_side_and_large_work_alone() -> None:
    async def run() -> None:
        turns, running, most = Turns(10), 0, 0
        begun: list[int] = []

        async def work(number: int, size: int) -> None:
            nonlocal running, most
            async with turns.turn("a", size):
                begun.append(number)
                running += size
                most = max(most, running)
                assert running <= 10 or running == size
                await asyncio.sleep(0.01)
                running -= size

        await asyncio.gather(*(work(number, size) for number, size in enumerate([3, 3, 4, 25, 1, 1, 9, 9])))
        assert begun == sorted(begun), "nobody overtakes"
        assert most == 25
        assert not turns._lines

    asyncio.run(run())


def test_one_name_does_not_wait_for_another() -> None:
    async def run() -> None:
        turns, inside = Turns(1), []
        async with turns.turn("a"):
            async with asyncio.timeout(1), turns.turn("b"):
                inside.append("b")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05), turns.turn("a"):
                    inside.append("a")
        assert inside == ["b"]
        assert not turns._lines

    asyncio.run(run())


def test_who_gives_up_holds_nothing_and_stops_nobody() -> None:
    async def run() -> None:
        turns, dice, running = Turns(8), random.Random(5), 0
        done: list[int] = []

        async def work(number: int) -> None:
            nonlocal running
            size = dice.randint(1, 12)
            async with turns.turn("a", size):
                running += size
                try:
                    assert running <= 8 or running == size
                    await asyncio.sleep(dice.random() / 500)
                finally:
                    running -= size
                done.append(number)

        tasks = [asyncio.create_task(work(number)) for number in range(300)]
        given_up = set(dice.sample(range(300), 150))
        for number in given_up:
            if dice.random() < 0.3:
                await asyncio.sleep(dice.random() / 1000)
            tasks[number].cancel()
        async with asyncio.timeout(20):
            await asyncio.gather(*tasks, return_exceptions=True)
        assert set(range(300)) - given_up <= set(done)
        assert not turns._lines

    asyncio.run(run())


def test_who_is_called_and_gives_up_in_the_same_moment_passes_the_turn_on() -> None:
    async def run() -> None:
        turns = Turns(1)
        first = turns.turn("a")
        await first.__aenter__()

        async def work() -> str:
            async with turns.turn("a"):
                return "done"

        second, third = asyncio.create_task(work()), asyncio.create_task(work())
        await asyncio.sleep(0)
        await first.__aexit__()
        second.cancel()
        assert await asyncio.wait_for(third, 1) == "done"
        assert second.cancelled()
        assert not turns._lines

    asyncio.run(run())


def test_who_gives_up_late_takes_no_turn_from_who_came_since() -> None:
    """The waiter is cancelled, the holder leaves and another comes, all before the waiter wakes."""

    async def run() -> None:
        turns = Turns(1)
        holder = turns.turn("a")
        await holder.__aenter__()

        async def work() -> None:
            async with turns.turn("a"):
                pass

        waiter = asyncio.create_task(work())
        await asyncio.sleep(0)
        waiter.cancel()
        await holder.__aexit__()
        newcomer = turns.turn("a")
        await newcomer.__aenter__()
        await asyncio.sleep(0)
        late = asyncio.create_task(work())
        await asyncio.sleep(0.01)
        assert waiter.cancelled()
        assert not late.done(), "two at once"
        await newcomer.__aexit__()
        await late
        assert not turns._lines

    asyncio.run(run())
