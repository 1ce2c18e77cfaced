"""What the server refuses before a view is asked: bodies, heads, hosts, methods, and clients that stall."""

import contextlib
import json
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
import uvicorn
from django.db import OperationalError

from config import edge
from customers.models import Attachment
from data.models import File
from kit import server as patience
from tenants import keys as key_format
from tenants.scope import ops_scope, tenant_scope
from tests.conftest import Cast, Person, make_person
from tests.customers.asking import asked
from tests.ops.conftest import inside, make_staff

pytestmark = pytest.mark.slow  # starts the server and waits for stalling clients

KEYS = {"message", "type", "param", "code"}
FORM = "multipart/form-data; boundary=x"


@pytest.fixture(scope="module")
def port(django_db_setup: None) -> Iterator[int]:
    """The whole web application behind the server's own protocol, with little patience."""
    from config.asgi import application

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(patience, "HEAD_SECONDS", 0.6)
        patch.setattr(patience, "BODY_WINDOW_SECONDS", 0.6)
        patch.setattr(patience, "TICK_SECONDS", 0.1)
        patch.setattr(edge, "LINGER_SECONDS", 1.0)
        config = uvicorn.Config(application, port=0, log_level="error", lifespan="off", http="kit.server:PatientHttp")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        deadline = time.monotonic() + 20
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.02)
        found = int(server.servers[0].sockets[0].getsockname()[1])
        while talk(found, head("GET", "/pricing", "Connection: close")).status != 200:  # the first answer takes long
            assert time.monotonic() < deadline
        yield found
        server.should_exit = True
        thread.join(timeout=10)


@pytest.fixture(scope="module")
def ada() -> Person:
    """One owner for the whole file."""
    return make_person("ada")


class Answer:
    """A raw answer, taken apart."""

    def __init__(self, raw: bytes) -> None:
        head, _, self.body = raw.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        self.status = int(first.split()[1]) if first else 0
        self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}

    def error(self) -> dict[str, Any]:
        """The four keys."""
        error: dict[str, Any] = json.loads(self.body)["error"]
        assert set(error) == KEYS
        return error


def talk(port: int, *pieces: bytes, pause: float = 0.0) -> Answer:
    """Send the pieces on one connection; the answer up to its end."""
    with socket.create_connection(("127.0.0.1", port), timeout=15) as peer:
        for piece in pieces:
            peer.sendall(piece)
            time.sleep(pause)
        return hear(peer)


def hear(peer: socket.socket) -> Answer:
    """Everything until the server closes or one answer of known length is whole."""
    raw = b""
    while piece := peer.recv(1 << 16):
        raw += piece
        answer = Answer(raw)
        if "content-length" in answer.headers and len(answer.body) >= int(answer.headers["content-length"]):
            return answer
    return Answer(raw)


def head(method: str, path: str, *lines: str, host: str = "localhost") -> bytes:
    """A request's head."""
    return "\r\n".join((f"{method} {path} HTTP/1.1", f"Host: {host}", *lines, "", "")).encode("latin-1")


def bearer(person: Person) -> str:
    return f"Authorization: Bearer {person.key}"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def letter(fields: dict[str, str], file: bytes) -> bytes:
    """A form with these fields and an attachment."""
    parts = [f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}' for name, value in fields.items()]
    given = 'form-data; name="attachment"; filename="a.log"'
    start = "\r\n".join(parts) + f"\r\n--x\r\nContent-Disposition: {given}\r\n\r\n"
    return start.encode() + file + b"\r\n--x--\r\n"


def files_of(person: Person) -> int:
    with tenant_scope(person.tenant.id):
        return int(File.objects.count())


@pytest.mark.parametrize("path", ["/v1/fine_tuning/jobs", "/v1/datasets", "/v1/nowhere", "/webhooks/stripe"])
def test_a_large_json_body_is_refused_on_its_announcement(port: int, path: str) -> None:
    answer = talk(port, head("POST", path, f"Content-Length: {2 << 20}", "Content-Type: application/json"))
    assert answer.status == 413 and answer.headers["connection"] == "close"
    assert answer.error()["code"] == "payload_too_large"


def test_a_large_body_in_chunks_is_refused_where_it_passes_the_limit(port: int, ada: Person) -> None:
    start = head("POST", "/v1/datasets", bearer(ada), "Transfer-Encoding: chunked", "Content-Type: application/json")
    answer = talk(port, start, *[chunk(b" " * (1 << 16))] * 20)
    assert answer.status == 413 and answer.error()["code"] == "payload_too_large"


def test_a_large_form_gets_a_page(port: int) -> None:
    answer = talk(port, head("POST", "/account/login/", f"Content-Length: {2 << 20}"))
    assert answer.status == 413 and answer.headers["content-type"].startswith("text/html")
    assert b"1 MiB" in answer.body and answer.headers["content-security-policy"]


@pytest.mark.parametrize("path", ["/v1/files", "/v1/uploads/upload_x/parts"])
def test_nobody_unknown_may_send_a_large_file(port: int, path: str) -> None:
    unknown, _ = key_format.generate()
    for line in ("Accept: */*", "Authorization: Bearer nonsense", f"Authorization: Bearer {unknown}"):
        answer = talk(port, head("POST", path, line, "Content-Length: 50000000", f"Content-Type: {FORM}"))
        assert answer.status == 401 and answer.error()["code"] == "invalid_api_key"
        assert answer.headers["www-authenticate"] == "Bearer"


def test_while_nobody_can_be_looked_up_a_large_file_is_refused_in_our_words(port: int, ada: Person) -> None:
    def away(*_: object, **__: object) -> int:
        raise OperationalError("the database is away")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(edge, "DOORS", tuple((pattern, away) for pattern, _ in edge.DOORS))
        answer = talk(port, head("POST", "/v1/files", bearer(ada), "Content-Length: 50000000", f"Content-Type: {FORM}"))
    assert answer.status == 503 and "Nothing was stored" in answer.error()["message"]


def test_a_file_over_the_plans_limit_is_refused_before_it_is_sent(port: int, ada: Person) -> None:
    before = files_of(ada)
    answer = talk(port, head("POST", "/v1/files", bearer(ada), "Content-Length: 900000000", f"Content-Type: {FORM}"))
    assert answer.status == 413 and answer.error()["code"] == "file_too_large"
    assert "100,000,000" in answer.error()["message"]
    assert files_of(ada) == before


def test_a_file_over_the_small_limit_arrives_whole_with_and_without_a_length(port: int, ada: Person) -> None:
    rows = b"".join(b"a text of row %d,label %d\n" % (n, n % 3) for n in range(150_000))
    assert len(rows) > 3 << 20
    form = (
        b'--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n'
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\ntext,label\n%s\r\n--x--\r\n'
    ) % rows
    plain = head("POST", "/v1/files", bearer(ada), f"Content-Length: {len(form)}", f"Content-Type: {FORM}")
    answer = talk(port, plain, form)
    assert answer.status == 200 and json.loads(answer.body)["bytes"] == len(rows) + 11
    chunked = head("POST", "/v1/files", bearer(ada), "Transfer-Encoding: chunked", f"Content-Type: {FORM}")
    answer = talk(port, chunked, *[chunk(form[n : n + 50_000]) for n in range(0, len(form), 50_000)], b"0\r\n\r\n")
    assert answer.status == 200 and json.loads(answer.body)["bytes"] == len(rows) + 11


def test_a_json_body_in_chunks_is_read(port: int, ada: Person) -> None:
    start = head("POST", "/v1/datasets", bearer(ada), "Transfer-Encoding: chunked", "Content-Type: application/json")
    answer = talk(port, start, chunk(b'{"file_id": "file-'), chunk(b'x"}') + b"0\r\n\r\n")
    assert answer.status == 404 and "file-x" in answer.error()["message"]


def test_a_console_upload_needs_a_member_before_it_is_taken_in(port: int, cast: Cast) -> None:
    path = f"{cast.owner.workspace}/datasets/new"
    size, kind = "Content-Length: 50000000", f"Content-Type: {FORM}"
    nobody = talk(port, head("POST", path, size, kind))
    assert nobody.status == 302 and nobody.headers["location"].startswith("/account/login/?next=/o/")

    def cookie(person: Person) -> str:
        return f"Cookie: sessionid={person.browser.cookies['sessionid'].value}"

    assert talk(port, head("POST", path, cookie(cast.stranger), size, kind)).status == 404
    too_large = talk(port, head("POST", path, cookie(cast.owner), "Content-Length: 900000000", kind))
    assert too_large.status == 413 and b"100,000,000" in too_large.body
    small = talk(port, head("POST", path, cookie(cast.owner), "Content-Length: 0", kind))
    assert small.status == 403  # Django is asked, and misses the token of a page of ours


def test_a_file_comes_with_a_message_to_support_up_to_its_limit(port: int, cast: Cast) -> None:
    path, token = f"{cast.owner.home}/support/new", "a" * 32
    kind = f"Content-Type: {FORM}"

    def cookie(person: Person) -> str:
        return f"Cookie: sessionid={person.browser.cookies['sessionid'].value}; csrftoken={token}"

    assert talk(port, head("POST", path, cookie(cast.stranger), "Content-Length: 5000000", kind)).status == 404
    too_large = talk(port, head("POST", path, cookie(cast.owner), "Content-Length: 50000000", kind))
    assert too_large.status == 413 and b"10,000,000" in too_large.body and b"Send a smaller one." in too_large.body
    fields = {"csrfmiddlewaretoken": token, "subject": "A log", "text": "It is long."}
    form = letter(fields, b"line\n" * 600_000)
    answer = talk(port, head("POST", path, cookie(cast.owner), f"Content-Length: {len(form)}", kind), form)
    assert answer.status == 302 and "/support/sup_" in answer.headers["location"]


def test_a_file_comes_with_staffs_answer_up_to_the_same_limit(port: int, cast: Cast) -> None:
    carer, thread = inside(make_staff("carer")), asked(cast.owner)
    path, token = f"/staff/support/{thread.pk}/", "a" * 32
    kind = f"Content-Type: {FORM}"
    mine, theirs = carer.browser.cookies["staff"].value, cast.owner.browser.cookies["sessionid"].value
    known = f"Cookie: staff={mine}; csrftoken={token}"
    for cookie in (f"Cookie: sessionid={theirs}", f"Cookie: staff={theirs}", f"Cookie: sessionid={mine}"):
        answer = talk(port, head("POST", path, cookie, "Content-Length: 5000000", kind))
        assert (answer.status, answer.headers["location"].partition("?")[0]) == (302, "/account/login/"), cookie
    for nobodys in ("x", str(uuid4())):
        nowhere = head("POST", f"/staff/support/{nobodys}/", known, "Content-Length: 5000000", kind)
        assert talk(port, nowhere).status == 404
    too_large = talk(port, head("POST", path, known, "Content-Length: 50000000", kind))
    assert too_large.status == 413 and b"10,000,000" in too_large.body
    form = letter({"csrfmiddlewaretoken": token, "text": "The report."}, b"line\n" * 600_000)
    answer = talk(port, head("POST", path, known, f"Content-Length: {len(form)}", kind), form)
    assert answer.status == 302 and f"{path}#" in answer.headers["location"]
    with ops_scope("test"):
        assert Attachment.ops.get(message__thread=thread).bytes == 3_000_000


@pytest.mark.parametrize(
    "lines",
    [[f"X-{n}: a" for n in range(150)], [f"Cookie: {'a' * 40_000}", f"X-B: {'b' * 40_000}"]],
)
def test_a_head_of_too_many_or_too_long_fields_gets_431(port: int, lines: list[str]) -> None:
    answer = talk(port, head("GET", "/v1/models", *lines))
    assert answer.status == 431 and answer.error()["code"] == "headers_too_large"
    assert talk(port, head("GET", "/pricing", *lines)).status == 431


def test_a_head_that_never_ends_gets_431_and_no_memory(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as peer:
        peer.sendall(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nX-A: ")
        for _ in range(20):
            try:
                peer.sendall(b"a" * 20_000)
            except OSError:
                break
            time.sleep(0.01)
        with contextlib.suppress(ConnectionError):  # closed while we were still sending
            assert hear(peer).status == 431


def test_a_client_that_never_finishes_its_head_or_body_is_cut_off(port: int, ada: Person) -> None:
    job = head("POST", "/v1/datasets", bearer(ada), "Content-Length: 500", "Content-Type: application/json")
    for start in (b"", b"GET /v1/models HT", head("GET", "/v1/models")[:-2], job + b"{"):
        with socket.create_connection(("127.0.0.1", port), timeout=5) as peer:
            if start:
                peer.sendall(start)
            began = time.monotonic()
            with contextlib.suppress(ConnectionResetError):
                assert peer.recv(100) == b""
            assert time.monotonic() - began < 3


def test_a_slow_but_honest_body_is_waited_for(port: int, ada: Person) -> None:
    body = b'{"file_id": "file-' + b"x" * 30_000 + b'"}'
    start = head("POST", "/v1/datasets", bearer(ada), f"Content-Length: {len(body)}", "Content-Type: application/json")
    answer = talk(port, start, *(body[n : n + 3000] for n in range(0, len(body), 3000)), pause=0.15)
    assert answer.status in (400, 404)


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost, evil.example", "a b", "", "localhost\r\nHost: evil.example"]
)
def test_a_host_that_is_not_ours_is_a_bad_request(port: int, host: str) -> None:
    api = talk(port, head("GET", "/v1/models", host=host))
    assert api.status == 400 and api.error()["code"] == "unknown_host"
    page = talk(port, head("GET", "/pricing", host=host))
    assert page.status == 400 and b"evil.example" not in page.body
    assert talk(port, head("GET", "/healthz", host=host)).status == 200


@pytest.mark.parametrize("method", ["OPTIONS", "PUT", "PATCH", "TRACE", "DELETE"])
def test_a_wrong_method_is_named_with_the_right_ones(port: int, ada: Person, method: str) -> None:
    for path, allowed in (
        ("/v1/files", "GET, HEAD, POST"),
        ("/v1/models", "GET, HEAD"),
        ("/v1/fine_tuning/jobs", "GET, HEAD, POST"),
    ):
        answer = talk(port, head(method, path, bearer(ada), "Connection: close"))
        assert (answer.status, answer.headers["allow"]) == (405, allowed)
        assert answer.error()["code"] == "method_not_allowed"
    page = talk(port, head(method, "/theme", "Connection: close"))
    assert page.status in (403, 405)


def test_what_is_no_http_is_a_bad_request(port: int) -> None:
    for raw in (
        b"hello\r\n\r\n",
        head("POST", "/v1/files", "Content-Length: 1", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
        head("POST", "/v1/files", "Content-Length: 1", "Content-Length: 2") + b"aa",
        head("POST", "/v1/files", "Content-Length: -5"),
        head("POST", "/v1/files", f"Content-Length: {'9' * 400}"),
        b"GET /v1/\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ):
        answer = talk(port, raw)
        assert answer.status == 400, raw
        if b"POST /v1/files" in raw:
            assert "not a valid HTTP request" in answer.error()["message"]


@pytest.mark.parametrize("path", ["/v1/feedback", "/v1/classify"])
@pytest.mark.parametrize(
    "chunks", [b"-5\r\n", b"F" * 17 + b"\r\n", b"zz\r\n", b"2\n{}\n0\n\n", b"2\r\n{}x"], ids=repr
)  # fmt: skip
@pytest.mark.parametrize("pause", [0.0, 0.1])
def test_a_body_in_chunks_that_are_none_is_a_bad_request(
    port: int, ada: Person, path: str, chunks: bytes, pause: float
) -> None:
    sent = head("POST", path, bearer(ada), "Content-Type: application/json", "Transfer-Encoding: chunked")
    pieces = (sent, chunks) if pause else (sent + chunks,)
    answer = talk(port, *pieces, pause=pause)
    assert (answer.status, answer.headers["connection"]) == (400, "close")
    assert answer.error()["message"] == "This is not a valid HTTP request."


def test_a_second_request_that_is_none_is_no_answer_to_the_first(port: int) -> None:
    first = head("GET", "/pricing")
    with socket.create_connection(("127.0.0.1", port), timeout=15) as peer:
        peer.sendall(first + b"nonsense\r\n\r\n")
        assert hear(peer).status in (0, 200)


@pytest.mark.parametrize("path", ["/v1/feedback", "/v1/classify"])
def test_what_follows_a_body_is_no_part_of_the_head(port: int, ada: Person, path: str) -> None:
    sent = head("POST", path, bearer(ada), "Content-Type: application/json", "Transfer-Encoding: chunked")
    trailers = b"0\r\nAuthorization: Bearer x\r\nHost: example.com\r\nContent-Type: text/plain\r\n\r\n"
    answer = talk(port, sent + chunk(b"{}") + trailers)
    assert (answer.status, answer.error()["param"]) == (400, "request_id" if path == "/v1/feedback" else "model")


def test_a_connection_serves_request_after_request(port: int, ada: Person) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as peer:
        for _ in range(5):
            peer.sendall(head("GET", f"/v1/files/file-{secrets.token_hex(8)}", bearer(ada)))
            assert hear(peer).status == 404
            time.sleep(0.3)
