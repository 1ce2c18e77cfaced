"""Live deployments, rollouts on a name, lines of the request log, and what was counted of them: tests without calls."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection

from kit.clock import now
from kit.ids import new_id, parse_id, public_id
from registry.services import alias_set
from serving import rounds
from serving.models import Deployment, RequestRecord
from serving.models.counts import RolloutCount
from serving.rollout_tick import rollout_look
from serving.services import deployment_create
from tenants.scope import tenant_scope
from tests.conftest import Person
from tests.registry.making import make_model

ALIAS = "triage@prod"


def live(person: Person, alias: str = "", version: Any = None) -> Deployment:
    """A deployment that is live, with no engine behind it."""
    version = version or make_model(person)
    with tenant_scope(person.tenant.id):
        made = deployment_create(project=person.project, model=version.model.name, version=version.number, alias=alias)
        Deployment.objects.filter(pk=made.pk).update(state="live", live_at=now())
        if alias:
            alias_set(project=person.project, alias=alias, version=version)
        found: Deployment = Deployment.objects.get(pk=made.pk)
    return found


def logged(person: Person, deployment: Deployment | None = None, **fields: Any) -> str:
    """A request in the log; its id."""
    values = {"at": now(), "kind": "classify", "status": 200, "duration_ms": 1, "model": ALIAS} | fields
    if deployment is not None:
        values |= {"version_id": deployment.version_id}
    with tenant_scope(person.tenant.id):
        row = RequestRecord.objects.create(id=new_id(), project_id=person.project.id, **values)
    return public_id("req_", row.pk)


def begun(person: Person, candidate: Deployment, **more: Any) -> dict[str, Any]:
    """A rollout to that deployment, as the API answered."""
    answer = person.api.post(
        "/v1/rollouts", {"alias": ALIAS, "candidate": candidate.public_id, "mode": "canary"} | more
    )
    assert answer.status_code == 200, answer.content
    found: dict[str, Any] = answer.json()
    return found


def look(person: Person, made: dict[str, Any]) -> str:
    """What a tick does about a rollout."""
    return rollout_look(tenant_id=person.tenant.id, rollout_id=parse_id("rollout_", made["id"]))


def sums(person: Person) -> list[dict[str, Any]]:
    """What the candidate's rounds came to so far, as it is kept."""
    with tenant_scope(person.tenant.id):
        return [one["candidate"] for one in RolloutCount.objects.get().rounds]


def figures(person: Person, made: dict[str, Any]) -> tuple[int, int, int, int]:
    """The candidate's calls, errors, judged and wrong answers, as the API gives them."""
    found = person.api.get(f"/v1/rollouts/{made['id']}").json()["figures"]["candidate"]
    return found["calls"], found["errors"], found["judged"], found["wrong"]


def too_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls take longer to be counted than anybody waits."""
    counted = rounds._calls

    def slow(*given: Any, **more: Any) -> Any:
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout = 1")
            cursor.execute("SELECT pg_sleep(1)")
        return counted(*given, **more)

    monkeypatch.setattr(rounds, "_calls", slow)


def judged(person: Person, requests: list[str], *, correct: bool) -> None:
    for request in requests:
        answer = person.api.post("/v1/feedback", {"request_id": request, "correct": correct})
        assert answer.status_code == 200, answer.content
