"""Routes of deployments."""

import functools
import tempfile
from pathlib import Path

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


POLICIES: dict[str, Policy] = {
    "v1/deployments": Policy(
        "api", success={"GET": 200, "POST": 200}, make=_published, bodies={"POST": lambda ids: {"model": ids["model"]}},
        hidden={"GET": 200},
    ),
    "v1/deployments/<str:deployment>": Policy("api", success={"GET": 200, "DELETE": 200}, make=_deployment),
}  # fmt: skip
