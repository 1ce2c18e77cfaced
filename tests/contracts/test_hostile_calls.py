"""Whatever a client sends to a hot path is answered: in the wire's shape, never with a 500, and nothing is left held.

Every path of the gateway's HANDLERS is tried. Its usual body is made from the reference's schema, so a new path joins
by being there; one whose usual body cannot be guessed is named in `tests/contracts/usual.py`.
"""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from inference.tasks import MULTI_LABEL
from kit import server as patience
from registry.models import Model
from tenants.scope import tenant_scope
from tests.config.test_edge import Answer, bearer, chunk, head, hear, talk
from tests.conftest import Person
from tests.console.things import made_deployment
from tests.contracts.conformance import body_schema, differences, followed
from tests.contracts.test_hostile_input import BODIES, KEYS, VALUES, spoiled
from tests.contracts.usual import PATHS, least
from tests.gateway.universal_engine import UniversalEngine
from tests.gateway.writing_engine import WRITER, Plan, Wired, alive, on_plan, until, wired
from tests.inference.artefacts import BASE

pytestmark = pytest.mark.slow  # very many cases
MANY = 100_000
THINGS: tuple[Any, ...] = ("x", "", 5, [], {}, {"type": "text", "text": "x"})
PATIENCE = 5.0
"""Seconds within which anything wrong is answered, on a machine that does other things as well."""


@dataclass
class Door:
    """The gateway and somebody's usual calls."""

    writing: Wired
    port: int
    ada: Person
    bodies: dict[str, dict[str, Any]]

    def ask(self, path: str, body: bytes, *lines: str) -> Answer:
        """A body with the right head."""
        return talk(self.port, self.head(path, len(body), *lines) + body)

    def head(self, path: str, length: int, *lines: str) -> bytes:
        """A head that announces so many bytes."""
        kind = (
            ()
            if any(line.lower().startswith("content-type") for line in lines)
            else ("Content-Type: application/json",)
        )
        return head("POST", path, bearer(self.ada), f"Content-Length: {length}", *kind, *lines)


@pytest.fixture(scope="module")
def door(django_db_setup: None) -> Iterator[Door]:
    """One door for the file: everybody reads and writes in no time."""
    engine = UniversalEngine()
    engine.plans[""] = Plan(["a", " word"])
    with pytest.MonkeyPatch.context() as patch, wired(engine) as writing:
        patch.setattr(patience, "BODY_WINDOW_SECONDS", 0.6)
        patch.setattr(patience, "TICK_SECONDS", 0.1)
        ada = on_plan("ada")
        made = Door(writing, int(writing.url.rsplit(":", 1)[1]), ada, {})
        labels, several = (made_deployment(ada).model for _ in range(2))
        with tenant_scope(ada.tenant.id):
            Model.objects.filter(pk=several.pk).update(task=MULTI_LABEL)
        names = (labels.name, several.name, BASE.name, WRITER)
        for path in PATHS:
            made.bodies[path] = usual(made, path, names)
        yield made


def usual(door: Door, path: str, names: tuple[str, ...]) -> dict[str, Any]:
    """A body that is answered, with the first model that does it."""
    plain = least(path)
    for name in names:
        body = plain | {"model": name}
        if door.ask(path, json.dumps(body).encode()).status == 200:
            return body
    raise AssertionError(f"no model answers {path} with {plain}: name its usual body in USUAL")


def takes_many(schema: dict[str, Any]) -> bool:
    """Whether a value may be a list or an object."""
    schema = followed(schema)
    return schema.get("type") in (None, "array", "object") or any(map(takes_many, schema.get("oneOf", ())))


def refusal(answer: Answer, what: str) -> dict[str, Any]:
    """What a refusal says; it is in the wire's shape and no fault of ours."""
    assert 400 <= answer.status < 500, (what, answer.status, answer.body[:300])
    error: dict[str, Any] = json.loads(answer.body)["error"]
    assert set(error) == KEYS and 10 < len(error["message"]) < 2000, (what, error)
    return error


@pytest.fixture(autouse=True)
def nothing_is_held(door: Door) -> Iterator[None]:
    """Nothing that was refused or answered holds a reservation or a place afterwards."""
    yield
    until(lambda: alive(door.ada) == 0)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ('{"model": "é"}'.encode("latin-1"), "UTF-8"),
        ('{"model": "m"}'.encode("utf-16"), "UTF-8"),
        ('{"model": "m"}'.encode("utf-8-sig"), "byte order mark"),
        (b"\x1f\x8b\x08\x00\x00", "compressed"),
        (b'{"model": "\\ud800"}', "half a character"),
        (b'{"\\udc00": 1}', "half a character"),
        (b'{"model": "a\\u0000"}', "NUL"),
        (b'{"model": NaN}', "NaN"),
        (b'{"model": -Infinity}', "Infinity"),
        (b'{"model": 1e400}', "too large"),
        (b'{"model": ' + b"9" * 400 + b"}", "400 digits"),
        (b'{"model": "a", "model": "b"}', "twice"),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, "nested deeper"),
        (b"[" * 200_000, "nested deeper"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_json_of_ours_is_refused_in_words(door: Door, path: str, raw: bytes, words: str) -> None:
    assert words in refusal(door.ask(path, raw), path)["message"]


@pytest.mark.parametrize("path", PATHS)
def test_one_field_put_wrong_is_refused_by_its_name_or_means_something(door: Door, path: str) -> None:
    schema, good = body_schema("POST", path, "application/json"), door.bodies[path]
    for body in BODIES:
        refusal(door.ask(path, body), repr(body[:40]))
    let_through = []
    for where, body in spoiled(schema, good):
        raw = json.dumps(body).encode()
        answer = door.ask(path, raw)
        assert answer.status == 200 or refusal(answer, f"{where}: {raw[:200]!r}")
        if differences(schema, body) and answer.status == 200:
            let_through.append(f"{where}: {raw[:200]!r}")
    assert let_through == []


@pytest.mark.parametrize("path", PATHS)
def test_a_hundred_thousand_of_anything_are_refused_at_once(door: Door, path: str) -> None:
    schema = body_schema("POST", path, "application/json")
    lists = [name for name, one in followed(schema)["properties"].items() if takes_many(one)]
    for number, name in enumerate(("model", *lists)):
        for many in ([THINGS[number % len(THINGS)]] * MANY, dict.fromkeys(map(str, range(MANY)), 1)):
            body = door.bodies[path] | {name: many}
            begun = time.monotonic()
            answer = door.ask(path, json.dumps(body).encode())
            assert time.monotonic() - begun < PATIENCE, name
            if answer.status == 200:
                assert not differences(schema, body), f"{name} means something, whatever it holds"
                continue
            error = refusal(answer, f"{name} of {str(many)[:20]}")
            assert error["param"] is None or error["param"].startswith(name), error


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "image",
    [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
        {"type": "input_image", "image_url": "https://example.com/a.png"},
        {"image": "iVBORw0KGgo="},
    ],
    ids=["image_url", "input_image", "image"],
)
def test_an_image_where_text_is_due_is_refused_at_its_place(door: Door, path: str, image: dict[str, Any]) -> None:
    texts = [name for name, value in door.bodies[path].items() if name != "model"]
    message = {"role": "user", "content": [image]}
    for name in texts:
        for wrong in (image, [image], [message], ["a text", image]):
            body = door.bodies[path] | {name: wrong}
            error = refusal(door.ask(path, json.dumps(body).encode()), f"{name}: {wrong}")
            assert error["param"] and error["param"].startswith(name), error


@pytest.mark.parametrize("path", PATHS)
def test_nothing_where_something_is_due_is_refused_at_its_place(door: Door, path: str) -> None:
    for name in door.bodies[path]:
        for nothing in ("", " \n\t", [], [""], None, {}):
            answer = door.ask(path, json.dumps(door.bodies[path] | {name: nothing}).encode())
            if name == "prompt" and nothing == " \n\t":
                assert answer.status == 200, "a model may go on from spaces"
                continue
            error = refusal(answer, f"{name} {nothing!r}")
            assert error["param"] and error["param"].startswith(name), (nothing, error)


@pytest.mark.parametrize("path", PATHS)
def test_every_honest_way_to_send_a_body_is_read(door: Door, path: str) -> None:
    body = json.dumps(door.bodies[path]).encode()
    pieces = (body[:7], body[7:20], body[20:])
    chunked = head("POST", path, bearer(door.ada), "Content-Type: application/json", "Transfer-Encoding: chunked")
    assert talk(door.port, chunked + b"".join(map(chunk, pieces)) + chunk(b"")).status == 200
    assert talk(door.port, chunked, *map(chunk, (*pieces, b"")), pause=0.02).status == 200
    old = door.head(path, len(body)).replace(b"HTTP/1.1", b"HTTP/1.0")
    assert talk(door.port, old + body).status == 200
    assert talk(door.port, door.head(path, len(body)), *pieces, pause=0.05).status == 200
    plain = head("POST", path, bearer(door.ada), f"Content-Length: {len(body)}")
    assert talk(door.port, plain + body).status == 200, "a body without a type is taken for JSON"
    with socket.create_connection(("127.0.0.1", door.port), timeout=15) as peer:
        peer.sendall((door.head(path, len(body)) + body) * 3 + door.head(path, 2, "Connection: close") + b"{}")
        raw = b"".join(iter(lambda: peer.recv(1 << 16), b""))
    assert [int(part[:3]) for part in raw.split(b"HTTP/1.1 ")[1:]] == [200, 200, 200, 400], "in their order"


@pytest.mark.parametrize("path", PATHS)
def test_a_head_that_cannot_be_is_refused(door: Door, path: str) -> None:
    body = json.dumps(door.bodies[path]).encode()
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "image/png"):
        assert door.ask(path, body, f"Content-Type: {kind}").status == 415
    for lines, status in (
        ((f"X-Long: {'a' * 70_000}",), 431),
        (tuple(f"X-{number}: a" for number in range(150)), 431),
        (("Transfer-Encoding: chunked",), 400),
        (("Content-Length: 1",), 400),
        (("Transfer-Encoding: gzip, chunked",), 400),
    ):
        assert door.ask(path, body, *lines).status == status, lines
    for key in ("Bearer", "Bearer x", "Basic eDp5", f"bearer {door.ada.key}x", "Bearer " + "k" * 9000):
        answer = talk(door.port, head("POST", path, f"Authorization: {key}", "Content-Length: 2") + b"{}")
        assert refusal(answer, key) and answer.status == 401


@pytest.mark.parametrize("path", PATHS)
def test_a_body_that_never_ends_holds_nothing_and_is_given_up(door: Door, path: str) -> None:
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", door.port), timeout=10) as peer:
        peer.sendall(door.head(path, 1000) + b'{"model"')
        for _ in range(4):
            time.sleep(0.1)
            peer.sendall(b" ")
            assert alive(door.ada) == 0
        with contextlib.suppress(ConnectionResetError):
            assert peer.recv(100) == b""
    assert time.monotonic() - begun < 5
    short = door.head(path, 1000)[:-2] + b"Connection: close\r\n\r\n" + b"{}"
    with socket.create_connection(("127.0.0.1", door.port), timeout=10) as peer:
        peer.sendall(short)
        peer.shutdown(socket.SHUT_WR)
        assert hear(peer).status in (0, 400), "less than it said it would send"


@pytest.mark.parametrize("path", PATHS)
def test_who_leaves_at_any_moment_leaves_nothing_behind(door: Door, path: str) -> None:
    body = json.dumps(door.bodies[path]).encode()
    whole = door.head(path, len(body)) + body
    for cut in (1, len(whole) // 2, len(whole) - 1, len(whole)):
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", door.port), timeout=10) as peer:
                peer.sendall(whole[:cut])
    until(lambda: alive(door.ada) == 0)
    assert door.ask(path, body).status == 200


def test_values_nobody_means_are_many() -> None:
    assert len(VALUES) > 30 and len(PATHS) >= 6
