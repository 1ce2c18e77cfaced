"""Answers that are sent piece by piece, never whole in memory, under WSGI and ASGI alike.

Django's ASGI handler collects an ordinary iterator into a list before it sends the first byte; so there the pieces come
from a thread, one at a time, as the client takes them.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any, cast

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, StreamingHttpResponse
from django.utils.http import content_disposition_header


def attachment(
    request: HttpRequest, pieces: Iterator[bytes], *, filename: str, content_type: str, size: int | None = None
) -> StreamingHttpResponse:
    """A download. `pieces` is closed at the end, also when the client leaves; `size` in bytes where it is known."""
    source: Any = _one_at_a_time(pieces) if isinstance(request, ASGIRequest) else pieces
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


async def _one_at_a_time(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """The pieces, each fetched in a thread."""
    busy: asyncio.Future[bytes | None] | None = None
    try:
        while True:
            busy = asyncio.ensure_future(asyncio.to_thread(next, pieces, None))
            piece = await asyncio.shield(busy)
            busy = None
            if piece is None:
                return
            yield piece
    finally:
        if busy is None:
            _close(pieces)
        else:  # the client left while a thread was fetching: an iterator cannot be closed while it runs
            busy.add_done_callback(lambda _: _close(pieces))


def _close(pieces: Iterator[bytes]) -> None:
    close = getattr(pieces, "close", None)
    if close is not None:
        cast("Any", close)()
