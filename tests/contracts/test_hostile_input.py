"""What the reference does not allow is refused, on every route: in the wire's shape, never with a 500.

The cases are generated. Every route that takes JSON gets its usual body with one field after another put wrong, at any
depth, by the schema that the reference shows for it; every path gets names that cannot be, and every query field values
that nobody means. A field gets every fifth wrong value, each field others; `HOSTILE_ALL=1` tries all with all.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator
from typing import Any

import pytest

from billing.services.entitlements import override_set
from tenants.scope import tenant_scope
from tests.conftest import Person, make_person
from tests.contracts.conformance import body_schema, differences, document, followed
from tests.contracts.test_reference import template
from tests.isolation.policies import POLICIES
from tests.isolation.routes import Ids, fill, parameters

pytestmark = pytest.mark.slow  # tries very many cases

KEYS = {"message", "type", "param", "code"}
VALUES: tuple[Any, ...] = (
    *(None, True, 0, -1, 1.5, 10**30, -(2**63) - 1, 1e308, float("nan"), float("-inf")),
    *("", " ", "0", "-1", "NaN", "1e400", "\x00", "a\x00b", "\ud800", "\u202e", "x" * 70_000, "../../etc/passwd"),
    *([], {}, [None], [[]], [{}], {"": None}, {"\x00": "\x00"}, {"a": {"b": {"c": []}}}, ["x"] * 3_000),
)
BODIES = (
    *(b"", b"{", b"[]", b"null", b"1", b'"x"', b"{}{}", b'{"a": NaN}', b'{"a": 1, "a": 2}', b"\xff\xfe\x00", b"\x00"),
    *(b'{"a":' * 3_000 + b"1" + b"}" * 3_000, b"[" * 50_000, b'{"a": 1e999999}', b'{"a": ' + b"9" * 6_000 + b"}"),
)
SHARE = 1 if os.environ.get("HOSTILE_ALL") else 5
NAMES = ("0", "%00", "..%2f..%2fetc", "%F0%9F%98%80", "x" * 3_000, "ftjob-", "'%3B--", "%ff", "file-0000000000000000")
WORDS = ("", "-1", "0", "1.5", "9" * 40, "NaN", "%00", "%ff", "x" * 3_000, "ftjob-x", "[]", "true", "%F0%9F%98%80")
"""Of a query, already quoted."""


@pytest.fixture(scope="module")
def owner() -> Person:
    """Somebody whose plan has room for whatever is let through."""
    person = make_person("ada")
    with tenant_scope(person.tenant.id):
        limits = {"queued_jobs": 1000, "projects": 1000, "members": 1000}
        override_set(reason="very many tries", created_by="test", limits=limits)
    return person


def takers() -> Iterator[Any]:
    """Routes that take a JSON body."""
    for route, policy in sorted(POLICIES.items()):
        for method in policy.bodies:
            if policy.door == "api" and not policy.form:
                yield pytest.param(route, method, id=f"{method} {route}")


def readers() -> Iterator[Any]:
    """Routes that are read with a query."""
    for route, policy in sorted(POLICIES.items()):
        if policy.door == "api" and "GET" in policy.success:
            yield pytest.param(route, id=route)


def wrongs(name: str) -> tuple[Any, ...]:
    """The values that a field of this name is tried with."""
    return VALUES[zlib.crc32(name.encode()) % SHARE :: SHARE]


def spoiled(schema: dict[str, Any], value: Any) -> Iterator[tuple[str, Any]]:
    """(where, value with that one place put wrong) for every place that the schema knows."""
    schema = followed(schema)
    for inner in schema.get("oneOf", []):
        yield from spoiled(inner, value)
    for name, one in schema.get("properties", {}).items():
        base = value if isinstance(value, dict) else {}
        for wrong in wrongs(name):
            yield name, {**base, name: wrong}
        for where, wrong in spoiled(one, base.get(name)):
            yield f"{name}.{where}", {**base, name: wrong}
    if isinstance(schema.get("items"), dict):
        for wrong in wrongs("[]"):
            yield "[]", [wrong]
        for where, wrong in spoiled(schema["items"], value[0] if isinstance(value, list) and value else None):
            yield f"[].{where}", [wrong]


def check(answer: Any, what: str) -> int:
    """Its status; a refusal is in the wire's shape and says something, and nothing is our fault."""
    assert answer.status_code < 500, (what, answer.content[:300])
    if answer.status_code >= 400:
        error = json.loads(answer.content)["error"]
        assert set(error) == KEYS and error["message"], (what, error)
        assert len(error["message"]) < 2_000, (what, error["message"][:100])
    return int(answer.status_code)


@pytest.mark.parametrize(("route", "method"), takers())
def test_what_the_reference_does_not_allow_is_refused(route: str, method: str, owner: Person) -> None:
    policy = POLICIES[route]
    ids: Ids = policy.make(owner)
    path, usual = fill(route, ids), policy.bodies[method](ids)
    schema = body_schema(method, template(route), "application/json")
    needed = bool(followed(schema).get("required"))
    for body in BODIES:
        status = check(owner.api.request(method, path, body), repr(body[:40]))
        assert 400 <= status < 500 or (body == b"" and not needed), body[:40]
    let_through = []
    for where, body in spoiled(schema, usual):
        text = json.dumps(body).encode()
        status = check(owner.api.request(method, path, text), f"{where}: {text[:300]!r}")
        if differences(schema, body) and not 400 <= status < 429:
            let_through.append(f"{status} {where}: {text[:200]!r}")
    assert let_through == []


@pytest.mark.parametrize("route", readers())
def test_names_that_cannot_be_are_not_found(route: str, owner: Person) -> None:
    names = parameters(route)
    for name in NAMES if names else ():
        answer = owner.api.get(fill(route, dict.fromkeys(names, name)))
        assert check(answer, name) in (400, 404), (name, answer.content[:200])


@pytest.mark.parametrize("route", readers())
def test_a_query_that_nobody_means_is_answered_or_refused(route: str, owner: Person) -> None:
    policy = POLICIES[route]
    path = fill(route, policy.make(owner))
    operation = document()["paths"][template(route)]["get"]
    fields = [one["name"] for one in operation.get("parameters", []) if one["in"] == "query"]
    for field in fields:
        for word in WORDS:
            answer = owner.api.get(f"{path}?{field}={word}")
            if answer.streaming:
                answer.close()
                assert answer.status_code == 200
            else:
                check(answer, f"{field}={word[:40]}")
