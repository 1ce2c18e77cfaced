"""Downloads piece by piece: under ASGI one at a time from a thread, and closed when the client leaves."""

import asyncio
import threading
from collections.abc import Iterator

from django.core.handlers.asgi import ASGIRequest
from django.test import RequestFactory

from kit.streams import Held, attachment, gathered


class Pieces:
    """Numbered pieces that remember what was asked of them, and by whom."""

    def __init__(self, count: int) -> None:
        self.given, self.count, self.closed = 0, count, threading.Event()
        self.threads: set[int] = set()
        self.go_on = threading.Event()
        self.go_on.set()

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        self.threads.add(threading.get_ident())
        self.go_on.wait(5)
        if self.given == self.count:
            raise StopIteration
        self.given += 1
        return b"%d;" % self.given

    def close(self) -> None:
        self.closed.set()


def asgi_request() -> ASGIRequest:
    """A request as the ASGI handler makes it."""
    scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b""}
    return ASGIRequest(scope, None)


def test_under_wsgi_the_pieces_are_handed_on_as_they_are() -> None:
    pieces = Pieces(3)
    answer = attachment(RequestFactory().get("/"), pieces, filename="a ü.csv", content_type="text/csv", size=6)
    assert b"".join(answer.streaming_content) == b"1;2;3;"
    assert "filename*=utf-8''a%20%C3%BC.csv" in answer["Content-Disposition"] and answer["Content-Length"] == "6"
    answer.close()
    assert pieces.closed.is_set()


def test_under_asgi_a_piece_is_fetched_when_the_one_before_is_taken() -> None:
    async def run() -> None:
        pieces = Pieces(3)
        answer = attachment(asgi_request(), pieces, filename="a.csv", content_type="text/csv")
        stream = aiter(answer.streaming_content)
        assert await anext(stream) == b"1;" and pieces.given == 1
        assert [piece async for piece in stream] == [b"2;", b"3;"]
        assert pieces.closed.is_set() and threading.get_ident() not in pieces.threads

    asyncio.run(run())


def test_a_client_who_leaves_closes_the_source_even_while_it_is_being_read() -> None:
    async def run() -> None:
        pieces = Pieces(3)
        answer = attachment(asgi_request(), pieces, filename="a.csv", content_type="text/csv")
        stream = aiter(answer.streaming_content)
        await anext(stream)
        pieces.go_on.clear()
        waiting = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0.05)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert not pieces.closed.is_set()
        pieces.go_on.set()
        for _ in range(100):
            if pieces.closed.is_set():
                return
            await asyncio.sleep(0.02)
        raise AssertionError("the source was never closed")

    asyncio.run(run())


def test_small_pieces_travel_together_and_closing_reaches_their_source() -> None:
    pieces = Pieces(100)
    parcels = list(gathered(iter(pieces), 50))
    assert parcels[0] == b"1;" and b"".join(parcels) == b"".join(b"%d;" % n for n in range(1, 101))
    assert 3 <= len(parcels) <= 8 and pieces.closed.is_set()
    assert list(gathered(iter(Pieces(0)))) == [b""]
    left = Pieces(100)
    stream = gathered(iter(left), 10)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert left.closed.is_set()


def test_an_answer_nobody_reads_closes_its_pieces_and_gives_back_what_they_hold() -> None:
    async def run(pieces: Held) -> None:
        attachment(asgi_request(), pieces, filename="a.csv", content_type="text/csv").close()

    never, given_back = Pieces(3), threading.Event()
    asyncio.run(run(Held(gathered(never), given_back.set)))
    assert given_back.is_set() and never.given == 0


def test_pieces_from_the_database_come_on_the_threads_that_keep_connections_to_it() -> None:
    async def run(pieces: Pieces) -> bytes:
        answer = attachment(asgi_request(), pieces, filename="a.csv", content_type="text/csv", from_database=True)
        return b"".join([piece async for piece in answer.streaming_content])

    pieces = Pieces(2)
    assert asyncio.run(run(pieces)) == b"1;2;"
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    assert all(names[ident].startswith("web") for ident in pieces.threads)
