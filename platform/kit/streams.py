"""Answers that are sent piece by piece, never whole in memory, under WSGI and ASGI alike.

Django's ASGI handler collects an ordinary iterator into a list before it sends the first byte; so there the pieces come
from a thread, one at a time, as the client takes them.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, cast

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, StreamingHttpResponse
from django.utils.http import content_disposition_header

from kit import threads


def attachment(
    request: HttpRequest,
    pieces: Iterator[bytes],
    *,
    filename: str,
    content_type: str,
    size: int | None = None,
    from_database: bool = False,
) -> StreamingHttpResponse:
    """A download. `pieces` is closed at the end, also when the client leaves or never asks for the first one; `size` in
    bytes where it is known. Pieces that come from the database are fetched on the threads that keep connections to it.
    """
    source: Any = pieces
    if isinstance(request, ASGIRequest):
        source = _OneAtATime(pieces, threads.look_up if from_database else asyncio.to_thread)
    answer = StreamingHttpResponse(source, content_type=content_type)
    answer.headers["Content-Disposition"] = str(content_disposition_header(True, filename))
    answer.headers["X-Content-Type-Options"] = "nosniff"
    answer.headers["X-Accel-Buffering"] = "no"
    if size is not None:
        answer.headers["Content-Length"] = str(size)
    return answer


def gathered(pieces: Iterator[bytes], size: int = 1 << 16) -> Iterator[bytes]:
    """Small pieces in parcels of about `size` bytes: each one costs a change of threads. The first goes alone."""
    with contextlib.closing(cast("Any", pieces)):
        waiting, held = [next(pieces, b"")], size
        for piece in pieces:
            if held >= size:
                yield b"".join(waiting)
                waiting, held = [], 0
            waiting.append(piece)
            held += len(piece)
        yield b"".join(waiting)


class Held(Iterator[bytes]):
    """Pieces, and what to give back when they are closed: a generator that never began ends without a word."""

    def __init__(self, pieces: Iterator[bytes], give_back: Callable[[], object]) -> None:
        self._pieces, self._give_back = pieces, give_back

    def __next__(self) -> bytes:
        """The next piece."""
        return next(self._pieces)

    def close(self) -> None:
        """End the pieces, then give back."""
        try:
            _close(self._pieces)
        finally:
            self._give_back()


class _OneAtATime:
    """The pieces, each fetched in a thread."""

    def __init__(self, pieces: Iterator[bytes], fetch: Callable[..., Awaitable[bytes | None]]) -> None:
        self._pieces, self._fetch, self._begun = pieces, fetch, False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """One after another, as the client takes them."""
        self._begun = True
        busy: asyncio.Future[bytes | None] | None = None
        try:
            while True:
                busy = asyncio.ensure_future(self._fetch(next, self._pieces, None))
                piece = await asyncio.shield(busy)
                busy = None
                if piece is None:
                    return
                yield piece
        finally:
            if busy is None:
                _close(self._pieces)
            else:  # the client left while a thread was fetching: an iterator cannot be closed while it runs
                busy.add_done_callback(lambda _: _close(self._pieces))

    def close(self) -> None:
        """Django is done with the answer. What was begun closes itself; HEAD, or a client that left, begins nothing."""
        if not self._begun:
            _close(self._pieces)


def _close(pieces: Iterator[bytes]) -> None:
    close = getattr(pieces, "close", None)
    if close is not None:
        cast("Any", close)()
