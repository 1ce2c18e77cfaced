"""Reading from the object store for an answer, on threads of its own: a slow store holds up whoever asked for a file,
and nobody else's keys and models."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from gateway.turns import Turns

T = TypeVar("T")

THREADS = 2
SECONDS = 3.0
_pool = ThreadPoolExecutor(THREADS, thread_name_prefix="gateway-read")
_turns = Turns(1)


async def read(name: str, work: Callable[[], T]) -> T:
    """What a blocking function reads, one at a time under each name. TimeoutError after `SECONDS`, waiting included.

    A thread cannot be stopped: who gave up waiting keeps the turn until the read has ended.
    """
    begun = False

    async def turn() -> T:
        nonlocal begun
        async with _turns.turn(name):
            begun = True
            return await asyncio.get_running_loop().run_in_executor(_pool, work)

    task = asyncio.create_task(turn())
    try:
        async with asyncio.timeout(SECONDS):
            return await asyncio.shield(task)
    finally:
        if not begun:
            task.cancel()
