"""Routes of deployments."""

import functools
import tempfile
from pathlib import Path

from kit.ids import parse_id
from tests.conftest import Person
from tests.inference.artefacts import make
from tests.isolation.routes import Ids, Policy


@functools.cache
def _artefact() -> object:
    return make(Path(tempfile.mkdtemp(prefix="isolation-")) / "a")


def _published(person: Person) -> Ids:
    from billing.services.entitlements import override_set
    from tenants.scope import tenant_scope
    from tests.serving.made import publish

    with tenant_scope(person.tenant.id):
        override_set(limits={"deployments": 1000}, reason="many tries", created_by="tests")
    return {"model": publish(person, _artefact()).model.name}


def _deployment(person: Person) -> Ids:
    from serving.services import deployment_create
    from tenants.scope import tenant_scope

    model = _published(person)["model"]
    with tenant_scope(person.tenant.id):
        return {"deployment": deployment_create(project=person.project, model=model).public_id}


def _two(person: Person) -> Ids:
    """Two deployments that are live, the first under an alias; no engine is asked."""
    from kit.clock import now
    from registry.services import alias_set
    from serving.models import Deployment
    from tenants.scope import tenant_scope

    pair = [_deployment(person)["deployment"] for _ in range(2)]
    with tenant_scope(person.tenant.id):
        rows = [Deployment.objects.get(pk=parse_id("dep_", one)) for one in pair]
        Deployment.objects.filter(pk__in=[row.pk for row in rows]).update(state="live", live_at=now())
        alias = f"triage-{rows[0].pk.hex[-8:]}@prod"
        alias_set(project=person.project, alias=alias, version=rows[0].version)
    return {"alias": alias, "candidate": pair[1]}


def _rollout(person: Person) -> Ids:
    from serving.models import Deployment
    from serving.rollouts import rollout_create
    from tenants.scope import tenant_scope

    ids = _two(person)
    with tenant_scope(person.tenant.id):
        candidate = Deployment.objects.get(pk=parse_id("dep_", ids["candidate"]))
        made = rollout_create(project=person.project, alias=ids["alias"], candidate=candidate, mode="canary")
    return {"rollout": made.public_id}


def _answered(person: Person) -> Ids:
    from kit.clock import now
    from kit.ids import new_id, public_id
    from serving.models import RequestRecord
    from tenants.scope import tenant_scope

    with tenant_scope(person.tenant.id):
        row = RequestRecord.objects.create(
            id=new_id(), project_id=person.project.id, at=now(), kind="classify", status=200, duration_ms=1
        )
    return {"request": public_id("req_", row.pk)}


def logged(person: Person) -> Ids:
    """A request that the log holds."""
    from tests.serving.logged import log_request

    return {"request_id": log_request(person).public_id}


POLICIES: dict[str, Policy] = {
    "v1/deployments": Policy(
        "api", success={"GET": 200, "POST": 200}, make=_published, bodies={"POST": lambda ids: {"model": ids["model"]}},
        hidden={"GET": 200},
    ),
    "v1/rollouts": Policy(
        "api", success={"GET": 200, "POST": 200}, make=_two, hidden={"GET": 200},
        bodies={"POST": lambda ids: {"alias": ids["alias"], "candidate": ids["candidate"], "mode": "ab"}},
    ),
    "v1/rollouts/<str:rollout>": Policy(
        "api", success={"GET": 200, "POST": 200}, make=_rollout, bodies={"POST": lambda ids: {"share": 50}}
    ),
    "v1/rollouts/<str:rollout>/promote": Policy("api", success={"POST": 200}, make=_rollout),
    "v1/rollouts/<str:rollout>/rollback": Policy("api", success={"POST": 200}, make=_rollout),
    "v1/feedback": Policy(
        "api", success={"GET": 200, "POST": 200}, make=_answered, hidden={"GET": 200},
        bodies={"POST": lambda ids: {"request_id": ids["request"], "correct": True}},
    ),
    "v1/requests": Policy("api", success={"GET": 200}, make=logged, hidden={"GET": 200}),
    "v1/requests/figures": Policy("api", success={"GET": 200}, make=logged, hidden={"GET": 200}),
    "v1/requests/<str:request_id>": Policy("api", success={"GET": 200}, make=logged),
    "v1/deployments/<str:deployment>": Policy(
        "api", success={"GET": 200, "POST": 200, "DELETE": 200}, make=_deployment,
        bodies={"POST": lambda ids: {"precision": None}},
    ),
}  # fmt: skip
