"""Live deployments, rollouts on a name, and lines of the request log, for tests without calls."""

from __future__ import annotations

from typing import Any

from kit.clock import now
from kit.ids import new_id, public_id
from registry.services import alias_set
from serving.models import Deployment, RequestRecord
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
