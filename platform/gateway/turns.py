"""Some work is done only so much at a time for each organisation; what does not fit waits in order."""

from __future__ import annotations

import asyncio
from collections import deque


class Turns:
    """Work under one name, side by side as long as its sizes add up to `most`; what is larger goes alone. What nobody
    waits for is forgotten."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lines: dict[str, _Line] = {}

    def turn(self, name: str, size: int = 1) -> _Turn:
        """To be entered: waits for its turn, and holds it."""
        line = self._lines.get(name)
        if line is None:
            line = _Line(self._most)
        return _Turn(self._lines, name, line, size)


class _Line:
    """Who works and who waits under one name."""

    __slots__ = ("held", "most", "waiting")

    def __init__(self, most: int) -> None:
        self.most, self.held = most, 0
        self.waiting: deque[tuple[asyncio.Future[None], int]] = deque()

    def takes(self, size: int) -> bool:
        """Take so much, if it fits."""
        if self.held and self.held + size > self.most:
            return False
        self.held += size
        return True

    def call(self) -> None:
        """Let in who waits, as far as they fit."""
        while self.waiting:
            place, size = self.waiting[0]
            if not place.done():
                if not self.takes(size):
                    return
                place.set_result(None)
            self.waiting.popleft()


class _Turn:
    """A class of its own: `asynccontextmanager` costs several times as much, on every call."""

    __slots__ = ("_line", "_lines", "_name", "_size")

    def __init__(self, lines: dict[str, _Line], name: str, line: _Line, size: int) -> None:
        self._lines, self._name, self._line, self._size = lines, name, line, size

    async def __aenter__(self) -> None:
        line = self._line = self._lines.setdefault(self._name, self._line)  # another may have begun one meanwhile
        if not line.waiting and line.takes(self._size):
            return
        place = asyncio.get_running_loop().create_future()
        line.waiting.append((place, self._size))
        try:
            await place
        except asyncio.CancelledError:
            if not place.cancelled():
                line.held -= self._size  # called at the moment it gave up
            self._leave()
            raise

    async def __aexit__(self, *_: object) -> None:
        self._line.held -= self._size
        self._leave()

    def _leave(self) -> None:
        line = self._line
        line.call()
        if not line.held and not line.waiting and self._lines.get(self._name) is line:
            del self._lines[self._name]  # unless it is gone, and another has begun under the name
