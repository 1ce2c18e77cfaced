"""An explanation whose rows cannot be had is given all the same: what it read is paid for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import OperationalError

from gateway import reading as gateway_reading
from kit.ids import new_id
from serving import training_rows
from serving.training_rows import AWAY, NOT_SEARCHED, UNKNOWN
from tests.conftest import Person, make_person
from tests.data.making import ready_dataset
from tests.gateway.reading_engine import Reading, published, reading
from tests.inference.test_neighbours import with_rows

pytestmark = pytest.mark.slow
MODEL = "nearest"


@pytest.fixture(scope="module")
def door(django_db_setup: None) -> Iterator[Reading]:
    with reading() as running:
        yield running


@pytest.fixture(scope="module")
def ada(door: Reading, tmp_path_factory: Any) -> Person:
    person = make_person("ada")
    _, version = ready_dataset(person)
    made = with_rows(tmp_path_factory.mktemp("m") / "a")
    row = door.deployed(person, published(person, made, MODEL, version.id))
    assert row.state == "live", row.reason
    return person


@pytest.fixture(autouse=True)
def rows(door: Reading) -> None:
    door.engine.nearest = [2, 1]


def explained(door: Reading, person: Person) -> dict[str, Any]:
    """The explanation of an answer that was paid for once, whatever became of its rows."""
    before = len(door.events(person))
    body = {"model": MODEL, "input": f"words {new_id()}", "x_explain": True}
    answer = door.post("/v1/classify", body, person.key)
    assert answer.status_code == 200, answer.content
    assert len(door.events(person)) == before + 1
    found: dict[str, Any] = answer.json()["data"][0]["x_explain"]
    assert found["words"], "the words need no rows"
    return found


def test_rows_are_shown_with_their_texts(door: Reading, ada: Person) -> None:
    found = explained(door, ada)
    assert [one["row"] for one in found["nearest"]] == [2, 1] and all(one["text"] for one in found["nearest"])


def test_an_engine_that_cannot_search_costs_the_rows_alone(door: Reading, ada: Person) -> None:
    door.engine.nearest = []
    found = explained(door, ada)
    assert found["nearest"] == [] and found["nearest_missing"] == NOT_SEARCHED


def test_a_database_that_is_away_after_the_charge_costs_the_rows_alone(
    door: Reading, ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(**_: Any) -> None:
        raise OperationalError("the connection is closed")

    monkeypatch.setattr(training_rows, "version_shown", away)
    found = explained(door, ada)
    assert found["nearest"] == [] and found["nearest_missing"] == UNKNOWN


def test_a_file_that_cannot_be_read_costs_the_texts_alone(
    door: Reading, ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise KeyError("text")

    monkeypatch.setattr(training_rows.data, "version_rows", broken)
    found = explained(door, ada)
    assert [(one["row"], one["text"]) for one in found["nearest"]] == [(2, None), (1, None)]
    assert found["nearest_missing"] == AWAY


def test_a_slow_store_holds_up_its_own_tenants_rows_and_no_other_look_up(
    door: Reading, ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, reads = threading.Event(), threading.Semaphore(0)
    read = training_rows.data.version_rows

    def slow(*given: Any, **more: Any) -> Any:
        reads.release()
        go.wait(20)
        return read(*given, **more)

    monkeypatch.setattr(training_rows.data, "version_rows", slow)
    monkeypatch.setattr(gateway_reading, "SECONDS", 0.3)
    try:
        for _ in range(6):  # more than all threads that there are
            assert explained(door, ada)["nearest_missing"] == AWAY
        assert reads.acquire(timeout=1) and not reads.acquire(timeout=0), "one at a time, to its end"
        fresh = make_person("eve")  # whose key is looked up now
        assert door.post("/v1/classify", {"model": MODEL, "input": "a"}, fresh.key).status_code == 404
    finally:
        go.set()
