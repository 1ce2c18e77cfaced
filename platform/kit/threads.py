"""The web process's threads, a fixed number of them: each keeps its database connections from one request to the next.

Django under ASGI would give every request a thread that ends with it, and a new connection to PostgreSQL with the
thread. See docs/decisions/0019.
"""

import asyncio
import contextvars
import functools
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from django.conf import settings
from django.db import close_old_connections

Result = TypeVar("Result")

TRANSFERS = 32
"""Bodies that are taken in at once. Their threads wait for clients most of the time; no page may wait for them."""


@functools.cache
def workers() -> ThreadPoolExecutor:
    """For pages, API calls and look-ups: work that begins when everything it needs has arrived."""
    return ThreadPoolExecutor(settings.WEB_THREADS, thread_name_prefix="web")


@functools.cache
def transfers() -> ThreadPoolExecutor:
    """For requests whose body is read while it arrives, at the client's pace."""
    return ThreadPoolExecutor(TRANSFERS, thread_name_prefix="transfer")


def submit(
    pool: ThreadPoolExecutor, context: contextvars.Context, function: Callable[..., Result], *arguments: Any
) -> "Future[Result]":
    """Run on a thread of the pool, in a context."""
    return pool.submit(context.run, function, *arguments)


async def look_up(function: Callable[..., Result], *arguments: Any) -> Result:
    """The answer of a function that asks the database."""
    context = contextvars.copy_context()
    return await asyncio.wrap_future(submit(workers(), context, _asked, function, *arguments))


def _asked(function: Callable[..., Result], *arguments: Any) -> Result:
    close_old_connections()
    try:
        return function(*arguments)
    finally:
        close_old_connections()
