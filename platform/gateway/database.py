"""The few questions to PostgreSQL that a cold look-up needs, run on threads beside the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from django.db import close_old_connections

T = TypeVar("T")

THREADS = 4
_pool = ThreadPoolExecutor(THREADS, thread_name_prefix="gateway-db")


async def ask(question: Callable[[], T]) -> T:
    """The answer of a blocking function that uses Django's connections."""
    return await asyncio.get_running_loop().run_in_executor(_pool, _on_thread, question)


def _on_thread(question: Callable[[], T]) -> T:
    close_old_connections()
    try:
        return question()
    finally:
        close_old_connections()
