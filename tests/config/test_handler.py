"""Requests share threads, and threads keep their connections; a client who leaves gives its place up."""

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from django.db.backends.signals import connection_created

from data.models import Upload
from kit import threads
from tenants.scope import tenant_scope
from tests.config.test_edge import bearer, head, hear, port, talk
from tests.conftest import Person, make_person
from tests.console.things import made_job
from tests.data.making import checked_file, sample

__all__ = ["port"]

pytestmark = pytest.mark.slow  # starts the server


@pytest.fixture(scope="module")
def ada() -> Person:
    """An owner."""
    return make_person("ada")


@pytest.fixture
def opened() -> Iterator[list[str]]:
    """The roles of connections that are opened meanwhile, by this process, which holds the server."""
    found: list[str] = []

    def note(connection: Any, **_: object) -> None:
        found.append(connection.alias)

    connection_created.connect(note)
    yield found
    connection_created.disconnect(note)


def test_requests_open_no_connection_each(port: int, ada: Person, opened: list[str]) -> None:
    for _ in range(3 * settings.WEB_THREADS):
        assert talk(port, head("GET", "/v1/models", bearer(ada), "Connection: close")).status == 200
    assert len(opened) <= settings.WEB_THREADS


def test_a_stream_holds_no_thread_and_no_connection(port: int, ada: Person, opened: list[str]) -> None:
    job = made_job(ada, state="queued", events=8)
    ada.browser.get(ada.workspace + "/")
    cookies = "; ".join(f"{name}={morsel.value}" for name, morsel in ada.browser.cookies.items())
    path = f"{ada.workspace}/jobs/{job.public_id}/stream"
    peers = [socket.create_connection(("127.0.0.1", port), timeout=30) for _ in range(3 * settings.WEB_THREADS)]
    for peer in peers:
        peer.sendall(head("GET", path, f"Cookie: {cookies}"))
    for peer in peers:
        raw = b""
        while b"event: state" not in raw:
            raw += peer.recv(1 << 16)
        assert raw.startswith(b"HTTP/1.1 200")
    assert talk(port, head("GET", "/v1/models", bearer(ada), "Connection: close")).status == 200
    assert len(opened) <= 2 * settings.WEB_THREADS
    for peer in peers:
        peer.close()


def test_a_head_answers_at_once_where_a_get_streams(port: int, ada: Person) -> None:
    job = made_job(ada, state="queued", events=8)
    ada.browser.get(ada.workspace + "/")
    cookies = "; ".join(f"{name}={morsel.value}" for name, morsel in ada.browser.cookies.items())
    path = f"{ada.workspace}/jobs/{job.public_id}/stream"
    answer = talk(port, head("HEAD", path, f"Cookie: {cookies}", "Connection: close"))
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["content-type"].startswith("text/event-stream")


def test_heads_and_clients_that_leave_before_the_first_byte_hold_no_place_of_downloads(port: int, ada: Person) -> None:
    path = f"/v1/files/{checked_file(ada, sample() + b',refund').public_id}/findings/rows"
    for _ in range(3):
        assert talk(port, head("HEAD", path, bearer(ada), "Connection: close")).status == 200
    gate = threading.Event()
    held = [threads.workers().submit(gate.wait, 30) for _ in range(settings.WEB_THREADS - 1)]
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as peer:
            peer.sendall(head("GET", path, bearer(ada)))
    gate.set()
    assert all(future.result(10) for future in held)
    deadline = time.monotonic() + 10
    while talk(port, head("GET", path, bearer(ada), "Connection: close")).status != 200:
        assert time.monotonic() < deadline, "long before a lost place is free again by itself"
        time.sleep(0.1)


def test_who_leaves_the_line_is_not_served(port: int, ada: Person) -> None:
    gate = threading.Event()
    held = [threads.workers().submit(gate.wait, 30) for _ in range(settings.WEB_THREADS)]
    body = b'{"filename": "a.csv", "purpose": "fine-tune", "bytes": 10, "mime_type": "text/csv"}'
    kind = "Content-Type: application/json"
    with socket.create_connection(("127.0.0.1", port), timeout=10) as peer:
        peer.sendall(head("POST", "/v1/uploads", bearer(ada), kind, f"Content-Length: {len(body)}") + body)
        deadline = time.monotonic() + 10
        while not threads.workers()._work_queue.qsize():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(0.3)  # what waits may be a look of somebody's stream that has not ended yet
    with socket.create_connection(("127.0.0.1", port), timeout=30) as other:
        other.sendall(head("GET", "/v1/models", bearer(ada)))
        time.sleep(0.3)
        gate.set()
        assert hear(other).status == 200
    assert all(future.result(10) for future in held)
    with tenant_scope(ada.tenant.id):
        assert not Upload.objects.exists()
