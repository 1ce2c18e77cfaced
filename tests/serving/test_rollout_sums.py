"""Sums of rollouts while others work on them: a tick, the log's end, the rollout's own end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest
from django.db import connections

from kit.ids import parse_id
from serving import rounds
from serving.models import Deployment, RequestRecord, Rollout
from serving.requests import requests_prune
from serving.rollout_tick import rollouts_tick
from tenants.scope import ops_scope, tenant_scope
from tests.conftest import Person, make_person
from tests.serving.logged import log_arm
from tests.serving.rolling import ALIAS, begun, figures, judged, live, logged, look, sums, too_slow


@pytest.fixture
def ada() -> Person:
    return make_person("ada")


@pytest.fixture
def candidate(ada: Person) -> Deployment:
    live(ada, ALIAS)
    return live(ada)


def settle(person: Person, made: dict[str, Any]) -> bool:
    return rounds.settle(tenant_id=person.tenant.id, rollout_id=parse_id("rollout_", made["id"]))


def overtaken(monkeypatch: pytest.MonkeyPatch, where: str, by: Callable[[], object], times: int = 1) -> None:
    """Somebody else, on a connection of their own, commits in the middle of the next look."""
    real, left, mine = getattr(rounds, where), list(range(times)), threading.get_ident()

    def other() -> None:
        try:
            by()
        finally:
            connections.close_all()

    def counted(*given: Any) -> Any:
        if left and threading.get_ident() == mine:  # the other one counts as well
            left.pop()
            with ThreadPoolExecutor(1) as pool:
                pool.submit(other).result(30)
        return real(*given)

    monkeypatch.setattr(rounds, where, counted)


def alone(person: Person) -> None:
    """No request of other tests is in the log: a prune forgets every tenant's, and they leave many."""
    with ops_scope("a log of one test alone"):
        RequestRecord.ops.exclude(tenant_id=person.tenant.id).delete()


def kept(person: Person) -> dict[str, Any]:
    with tenant_scope(person.tenant.id):
        found: dict[str, Any] = Rollout.objects.get().figures
    return found


@pytest.mark.parametrize("ends", [False, True], ids=["seen", "ended"])
@pytest.mark.parametrize("where", ["_calls", "_judged"])
def test_a_look_that_a_tick_overtakes_counts_anew(
    ada: Person, candidate: Deployment, monkeypatch: pytest.MonkeyPatch, where: str, ends: bool
) -> None:
    made = begun(ada, candidate, share=50)
    requests = [logged(ada, candidate, arm="candidate") for _ in range(5)]
    judged(ada, requests[:3], correct=True)
    judged(ada, requests[3:4], correct=False)
    overtaken(monkeypatch, where, lambda: settle(ada, made))
    if ends:
        assert ada.api.post(f"/v1/rollouts/{made['id']}/rollback").status_code == 200
        assert (kept(ada)["candidate"]["judged"], kept(ada)["candidate"]["wrong"]) == (4, 1)
    assert figures(ada, made) == (5, 0, 4, 1)
    assert sums(ada)[0]["calls"] == 5, "it was added up meanwhile"
    assert figures(ada, made) == (5, 0, 4, 1)


def test_sums_that_never_stand_still_are_told_as_such(
    ada: Person, candidate: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = begun(ada, candidate, share=50)

    def another() -> None:
        logged(ada, candidate, arm="candidate")
        settle(ada, made)

    overtaken(monkeypatch, "_calls", another, times=100)
    refused = ada.api.get(f"/v1/rollouts/{made['id']}")
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "span_too_large")


def test_what_came_after_the_end_is_no_part_of_it_and_a_tick_keeps_what_was(
    ada: Person, candidate: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = begun(ada, candidate, share=50)
    requests = [logged(ada, candidate, arm="candidate") for _ in range(3)]
    judged(ada, requests[:1], correct=False)
    with monkeypatch.context() as patch:
        too_slow(patch)
        assert ada.api.post(f"/v1/rollouts/{made['id']}/rollback").json()["state"] == "rolled_back"
    assert kept(ada) == {}
    for _ in range(4):
        logged(ada, candidate, arm="candidate", status=500)
    judged(ada, requests[1:], correct=False)
    assert figures(ada, made) == (3, 0, 1, 1)
    assert look(ada, made) == "ended", "and what is final was added up"
    assert figures(ada, made) == (3, 0, 1, 1)
    rollouts_tick()
    assert kept(ada)["candidate"]["calls"] == 3
    with tenant_scope(ada.tenant.id):
        RequestRecord.objects.all().delete()
    assert figures(ada, made) == (3, 0, 1, 1)


@pytest.mark.parametrize("ends", [False, True], ids=["running", "ended"])
def test_a_failed_line_that_the_log_forgets_stays_counted_once(
    ada: Person, candidate: Deployment, settings: Any, monkeypatch: pytest.MonkeyPatch, ends: bool
) -> None:
    made = begun(ada, candidate, share=50)
    logged(ada, candidate, arm="candidate")
    for status, code in ((500, ""), (503, "slow_down")):
        logged(ada, candidate, arm="candidate", kind="batch_classify", status=status, code=code)
    if ends:
        with monkeypatch.context() as patch:
            too_slow(patch)
            ada.api.post(f"/v1/rollouts/{made['id']}/rollback")
        logged(ada, candidate, arm="candidate", kind="batch_classify", status=500)
    settle(ada, made)
    assert (sums(ada)[0]["calls"], sums(ada)[0]["errors"]) == (1, 0)
    assert figures(ada, made) == (2, 1, 0, 0)
    alone(ada)
    settings.REQUEST_LOG_DAYS = 0
    overtaken(monkeypatch, "_calls", requests_prune)
    assert figures(ada, made) == (2, 1, 0, 0), "while the log forgets it"
    with tenant_scope(ada.tenant.id):
        assert not RequestRecord.objects.exists()
    for _ in range(2):
        requests_prune()
        settle(ada, made)
        assert figures(ada, made) == (2, 1, 0, 0)
        assert (sums(ada)[0]["calls"], sums(ada)[0]["errors"]) == (2, 1)


def test_stretches_that_take_too_long_are_made_smaller_and_count_everything_once(
    ada: Person, candidate: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = begun(ada, candidate, share=50)
    for place in range(6):
        log_arm(ada, 20_000, alias=ALIAS, version=candidate.version_id, arm="candidate")
        judged(ada, [logged(ada, candidate, arm="candidate") for _ in range(3)], correct=bool(place % 2))
    expected = (120_018, 1_200, 18, 9)
    assert figures(ada, made) == expected
    real, strides = rounds._settle, []

    def noted(rollout_id: UUID, stride: int) -> bool:
        strides.append(stride)
        return real(rollout_id, stride)

    monkeypatch.setattr(rounds, "_settle", noted)
    monkeypatch.setattr(rounds, "STRIDE_MS", 1)
    monkeypatch.setattr(rounds, "SETTLE_SECONDS", 0.3)
    for _ in range(200):
        if settle(ada, made):
            break
        assert figures(ada, made) == expected
    assert strides[:3] == [1 << 16, 1 << 8, 1], "the whole, less, and a single transaction, which is counted as it is"
    for _ in range(2):
        found = sums(ada)[0]
        assert (found["calls"], found["errors"], found["judged"], found["wrong"]) == expected
        assert settle(ada, made)
