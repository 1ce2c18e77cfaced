"""Some work only a few at a time for each organisation; the others wait in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """At most `most` at a time under one name. What nobody waits for is forgotten."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lines: dict[str, tuple[asyncio.Semaphore, set[object]]] = {}

    @asynccontextmanager
    async def turn(self, name: str) -> AsyncIterator[None]:
        """Wait for a turn, and hold it."""
        places, here = self._lines.setdefault(name, (asyncio.Semaphore(self._most), set()))
        me = object()
        here.add(me)
        try:
            async with places:
                yield
        finally:
            here.remove(me)
            if not here:
                del self._lines[name]
