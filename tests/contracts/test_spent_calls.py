"""No hot path works for a key that has spent its money or is over its rate: every way in, whole and streamed.

Every path of the gateway's HANDLERS is tried with a model of every task and a base of either kind, and with each wish
of its schema that is a yes or no (`stream` is one). What a good key gets an answer to is a way in; it must be closed to
the others before the engine hears of it. A path without a way in fails, and so does work of an engine that no way
leads to: a new one joins by being there, or says what its usual body is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from inference import tasks
from inference.wire.base import Message
from registry.models import Model
from tenants.scope import tenant_scope
from tests.conftest import Person
from tests.console.things import made_deployment
from tests.contracts.conformance import body_schema, followed
from tests.contracts.usual import PATHS, least
from tests.gateway.universal_engine import UniversalEngine
from tests.gateway.writing_engine import WRITER, Plan, Wired, alive, key_with, on_plan, until, wired
from tests.inference.artefacts import BASE

pytestmark = pytest.mark.slow  # starts a server

INPUTS: tuple[Any, ...] = ({"question": "who?", "context": "a text"}, {"query": "who?", "document": "a text"})
"""What some tasks read in place of a text."""
WORK = {kind.__name__ for kind in Message.__subclasses__() if "weight" in kind.__struct_fields__}
"""What an engine computes for somebody, who has a share of it."""


@dataclass
class Ways:
    """The gateway, somebody, and the bodies that are answered, by path; `reached`: the work that they led to."""

    wired: Wired
    engine: UniversalEngine
    ada: Person
    bodies: dict[str, list[dict[str, Any]]]
    reached: set[str]


@pytest.fixture(scope="module")
def ways(django_db_setup: None) -> Iterator[Ways]:
    """One door for the file, and every way in."""
    engine = UniversalEngine()
    engine.plans[""] = Plan(["a", " word"])
    with wired(engine) as running:
        ada = on_plan("ada")
        models = [BASE.name, WRITER]
        for task in tasks.LABELS:
            model = made_deployment(ada).model
            with tenant_scope(ada.tenant.id):
                Model.objects.filter(pk=model.pk).update(task=task)
            models.append(model.name)
        bodies = {path: [body for body in tried(path, models) if answered(running, path, body, ada)] for path in PATHS}
        yield Ways(running, engine, ada, bodies, {type(message).__name__ for message in engine.worked})


def tried(path: str, models: list[str]) -> Iterator[dict[str, Any]]:
    """Bodies of a path, of which some are answered."""
    plain, fields = least(path), body_schema("POST", path, "application/json")["properties"]
    wishes = [name for name, schema in fields.items() if followed(schema).get("type") == "boolean"]
    for name in models:
        named = plain | {"model": name}
        yield named
        yield from (named | {"input": value} for value in INPUTS if "input" in plain)
        yield from (named | {wish: True} for wish in wishes)


def answered(running: Wired, path: str, body: dict[str, Any], person: Person) -> bool:
    return running.post(path, body, person.key).status_code == 200


def test_the_ways_lead_to_whatever_an_engine_computes(ways: Ways) -> None:
    closed = [path for path, bodies in ways.bodies.items() if not bodies]
    assert not closed, f"nothing is answered on {closed}: name a usual body in tests/contracts/usual.py"
    assert ways.reached == WORK, "work that no way leads to: teach UniversalEngine and these bodies"
    streamed = [path for path, bodies in ways.bodies.items() if any(body.get("stream") for body in bodies)]
    assert streamed == ["/v1/chat/completions", "/v1/completions"]
    explained = [path for path, bodies in ways.bodies.items() if any(body.get("x_explain") for body in bodies)]
    assert explained == ["/v1/classify", "/v1/decisions"]


@pytest.mark.parametrize("path", PATHS)
def test_a_spent_key_is_told_so_before_an_engine_works(ways: Ways, path: str) -> None:
    spent, before = key_with(ways.ada, monthly_spend_nano=1), len(ways.engine.worked)
    for body in ways.bodies[path]:
        answer = ways.wired.post(path, body, spent)
        assert answer.status_code == 402, (body, answer.text)
        assert answer.json()["error"]["code"] == "budget_exceeded" and answer.headers["x-should-retry"] == "false"
        assert answer.headers["content-type"] == "application/json", "no stream is begun"
    assert len(ways.engine.worked) == before
    until(lambda: alive(ways.ada) == 0)


@pytest.mark.parametrize("path", PATHS)
def test_a_key_over_its_rate_is_told_when_to_come_back(ways: Ways, path: str) -> None:
    few = key_with(ways.ada, requests_per_minute=1)
    for body in ways.bodies[path]:
        for _ in range(4):  # one is let through, and another should this take a minute
            before = len(ways.engine.worked)
            answer = ways.wired.post(path, body, few)
            if answer.status_code != 200:
                break
        assert answer.status_code == 429, (body, answer.text)
        assert json.loads(answer.text)["error"]["code"] == "rate_limit_exceeded"
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        assert answer.headers["content-type"] == "application/json", "no stream is begun"
        assert len(ways.engine.worked) == before
    until(lambda: alive(ways.ada) == 0)
