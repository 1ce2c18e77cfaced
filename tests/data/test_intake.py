"""Bytes on their way in: written once, at most the limit, and nothing left of what does not become a file."""

import http.server
import io
import os
import re
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from django.core.files.storage import default_storage
from django.test import Client
from storages.backends.s3 import S3Storage

from config import handler
from data.models import File
from kit import incoming, storage
from tenants.scope import tenant_scope
from tests.config.test_edge import bearer, chunk, head, hear, port
from tests.conftest import Cast, Person, make_person

__all__ = ["port"]

FORM = "multipart/form-data; boundary=x"
HEAD = b'--x\r\nContent-Disposition: form-data; name="%s"; filename="a.csv"\r\n\r\n'
PURPOSE = b'--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n'
TAIL = b"\r\n--x--\r\n"
ROWS = b"text,label\n" + b"where is my refund,refund\nplease cancel it,cancel\n" * 60_000


def kept(person: Person) -> set[Path]:
    """What lies in the organisation's storage, and what anybody left half-written."""
    folders = (f"t/{person.tenant.id}", storage.INCOMING)
    return {path for name in folders for path in Path(default_storage.path(name)).rglob("*") if path.is_file()}


def wait_for(what: Any) -> bool:
    """Whether it comes true within some seconds."""
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        if what():
            return True
        time.sleep(0.05)
    return False


@pytest.mark.slow
@pytest.mark.parametrize("way", ["announced", "chunked"])
@pytest.mark.parametrize("path", ["/v1/files", "console"])
def test_a_client_who_leaves_midway_leaves_nothing_behind(port: int, cast: Cast, way: str, path: str) -> None:
    ada = cast.owner
    who = bearer(ada)
    if path == "console":
        path = f"{ada.workspace}/datasets/new"
        ada.browser.get(path)
        who = "Cookie: " + "; ".join(f"{name}={morsel.value}" for name, morsel in ada.browser.cookies.items())
    size = "Transfer-Encoding: chunked" if way == "chunked" else f"Content-Length: {len(ROWS)}"
    body = PURPOSE + HEAD % b"file" + ROWS[: len(ROWS) // 2]
    with socket.create_connection(("127.0.0.1", port), timeout=10) as peer:
        peer.sendall(head("POST", path, who, size, f"Content-Type: {FORM}"))
        peer.sendall(chunk(body) if way == "chunked" else body)
        assert wait_for(lambda: kept(ada)), "the bytes are in storage's folder while they arrive"
    assert wait_for(lambda: not kept(ada))
    with tenant_scope(ada.tenant.id):
        assert not File.objects.exists()


@pytest.mark.slow
def test_an_organisation_waits_for_its_own_bodies_and_no_other_waits_for_them(
    port: int, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handler, "AT_ONCE", 1)
    ada, vera = cast.owner, make_person("vera", beside=cast.owner, role="developer")
    form = PURPOSE + HEAD % b"file" + ROWS + TAIL

    def begin(person: Person, body: bytes) -> socket.socket:
        peer = socket.create_connection(("127.0.0.1", port), timeout=20)
        peer.sendall(head("POST", "/v1/files", bearer(person), f"Content-Length: {len(form)}", f"Content-Type: {FORM}"))
        peer.sendall(body)
        return peer

    first = begin(ada, form[: len(form) // 2])
    assert wait_for(lambda: kept(ada)), "its turn has come"
    second, other = begin(vera, form), begin(cast.stranger, form)
    assert hear(other).status == 200
    second.setblocking(False)
    with pytest.raises(BlockingIOError):
        second.recv(1)
    first.close()
    second.settimeout(20)
    assert hear(second).status == 200
    second.close()
    other.close()


def test_what_is_refused_after_it_arrived_is_not_kept(cast: Cast) -> None:
    ada, bob = cast.owner, cast.stranger
    api = ada.api
    for path, fields, status in (
        ("/v1/files", {"file": io.BytesIO(ROWS), "purpose": "nothing we know"}, 400),
        ("/v1/files", {"file": io.BytesIO(ROWS), "purpose": "fine-tune", "extra": "1"}, 400),
        ("/v1/files", {"file": [io.BytesIO(ROWS), io.BytesIO(ROWS)], "purpose": "fine-tune"}, 400),
        ("/v1/files", {"data": io.BytesIO(ROWS), "purpose": "fine-tune"}, 400),
        ("/v1/files", {"file": io.BytesIO(b""), "purpose": "fine-tune"}, 400),
    ):
        assert api.upload(path, fields).status_code == status
    form = {"file": io.BytesIO(ROWS)}
    assert ada.browser.post(f"{ada.home}/p/nowhere/datasets/new", form).status_code == 404
    assert ada.browser.post(f"{bob.workspace}/datasets/new", {"file": io.BytesIO(ROWS)}).status_code == 404
    assert kept(ada) == kept(bob) == set()


def test_a_form_of_another_site_is_refused_and_its_file_is_not_kept(cast: Cast) -> None:
    ada = cast.owner
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = ada.browser.cookies
    path = f"{ada.workspace}/datasets/new"
    assert strict.post(path, {"file": io.BytesIO(ROWS)}).status_code == 403
    assert kept(ada) == set()
    page = strict.get(path).content.decode()
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)
    assert token is not None
    answer = strict.post(path, {"csrfmiddlewaretoken": token[1], "file": io.BytesIO(ROWS)})
    assert answer.status_code == 302 and len(kept(ada)) == 1


def test_a_full_disk_is_said_and_leaves_nothing(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    ada = cast.owner
    made = tempfile.mkstemp

    def full(dir: Path) -> tuple[int, str]:
        handle, name = made(dir=dir)
        os.close(handle)
        return os.open("/dev/full", os.O_WRONLY), name

    monkeypatch.setattr(tempfile, "mkstemp", full)
    answer = ada.api.upload("/v1/files", {"file": io.BytesIO(ROWS), "purpose": "fine-tune"})
    assert answer.status_code == 507 and answer.json()["error"]["code"] == "storage_unavailable"
    page = ada.browser.post(f"{ada.workspace}/datasets/new", {"file": io.BytesIO(ROWS)})
    assert page.status_code == 422 and "Nothing was kept" in page.content.decode()
    assert kept(ada) == set()


def test_a_half_written_object_of_a_killed_process_is_swept_a_day_later(cast: Cast) -> None:
    folder = Path(default_storage.path(storage.INCOMING))
    folder.mkdir(parents=True, exist_ok=True)
    old, young = folder / "old", folder / "young"
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    try:
        assert storage.incoming_sweep() == 1 and not old.exists() and young.exists()
    finally:
        young.unlink()


class Bucket(http.server.BaseHTTPRequestHandler):
    """As much of an S3 store as an upload needs."""

    protocol_version = "HTTP/1.1"

    def _answer(self, status: int = 200, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def do_HEAD(self) -> None:
        name = self.path.split("?")[0]
        self._answer(200 if name in self.server.objects else 404)  # type: ignore[attr-defined]

    def do_POST(self) -> None:
        name, _, query = self.path.partition("?")
        body, server = self._body(), self.server
        if query.startswith("uploads"):
            server.pending[name] = {}  # type: ignore[attr-defined]
            self._answer(body=b"<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>")
            return
        space = "{http://s3.amazonaws.com/doc/2006-03-01/}"
        numbers = [int(str(node.text)) for node in ElementTree.fromstring(body).iter(f"{space}PartNumber")]
        parts = server.pending.pop(name)  # type: ignore[attr-defined]
        server.objects[name] = b"".join(parts[number] for number in numbers)  # type: ignore[attr-defined]
        self._answer(body=b"<CompleteMultipartUploadResult></CompleteMultipartUploadResult>")

    def do_PUT(self) -> None:
        name, _, query = self.path.partition("?")
        body = self._body()
        number = re.search(r"partNumber=(\d+)", query)
        if number and self.server.full:  # type: ignore[attr-defined]
            self._answer(507, b"<Error><Code>NoSpace</Code></Error>")
        elif number:
            self.server.pending[name][int(number[1])] = body  # type: ignore[attr-defined]
            self._answer(ETag=f'"{number[1]}"')
        else:
            self.server.objects[name] = body  # type: ignore[attr-defined]
            self._answer(ETag='"0"')

    def do_DELETE(self) -> None:
        name, _, query = self.path.partition("?")
        (self.server.pending if query else self.server.objects).pop(name, None)  # type: ignore[attr-defined]
        self._answer(204)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A store behind the real client, in the place of the local folder."""
    server: Any = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Bucket)
    server.objects, server.pending, server.full = {}, {}, False
    threading.Thread(target=server.serve_forever, daemon=True).start()
    store = S3Storage(
        bucket_name="b",
        endpoint_url=f"http://127.0.0.1:{server.server_port}",
        access_key="a",
        secret_key="b",
        addressing_style="path",
        region_name="x",
        client_config=None,
    )
    for module in (storage, incoming):
        monkeypatch.setattr(module, "default_storage", store)
    storage._failures.cache_clear()
    yield server
    storage._failures.cache_clear()
    server.shutdown()


def test_an_object_store_gets_parts_and_shows_nothing_before_the_end(bucket: Any) -> None:
    coming = storage.Incoming("t/x/files/y")
    piece = bytes(range(256)) * 8192
    for _ in range(9):  # 18 MiB: two parts and a rest
        coming.write(piece)
    assert bucket.objects == {} and len(bucket.pending["/b/t/x/files/y"]) == 2
    coming.keep()
    coming.drop()
    assert bucket.objects == {"/b/t/x/files/y": piece * 9} and bucket.pending == {}
    with pytest.raises(FileExistsError):
        storage.Incoming("t/x/files/y")
    assert storage.write_stream("t/x/files/small", [b"one", b"two"])[0] == 6
    assert bucket.objects["/b/t/x/files/small"] == b"onetwo"


@pytest.mark.slow
@pytest.mark.parametrize("why", ["too large", "left", "full"])
def test_an_object_store_keeps_nothing_of_what_was_not_finished(bucket: Any, why: str) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(12):
            yield b"x" * (1 << 20)
        if why == "left":
            raise ConnectionError("gone")

    bucket.full = why == "full"
    expected = {"too large": storage.TooLarge, "left": ConnectionError, "full": storage.StorageAway}[why]
    with pytest.raises(expected):
        storage.write_stream("t/x/files/y", pieces(), limit=(10 << 20) if why == "too large" else None)
    assert bucket.objects == bucket.pending == {}
