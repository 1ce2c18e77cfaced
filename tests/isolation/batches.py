"""Routes of batches: the API and the pages."""

import json
from typing import Any

from tests.conftest import Person
from tests.isolation.routes import Ids, Policy

WORK = "o/<slug:org>/p/<slug:project>/"


def calls(person: Person) -> Any:
    """A file of calls in the person's project."""
    from data.services import file_create, file_store
    from tenants.scope import tenant_scope

    body = {"model": "all-MiniLM-L6-v2", "input": "hello"}
    line = {"custom_id": "a", "method": "POST", "url": "/v1/embeddings", "body": body}
    stored = file_store(tenant_id=person.tenant.id, chunks=[json.dumps(line).encode()], limit=10_000)
    with tenant_scope(person.tenant.id):
        return file_create(project_id=person.project.id, filename="calls.jsonl", purpose="batch", stored=stored)


def _calls(person: Person) -> Ids:
    return {"input_file_id": calls(person).public_id}


def a_batch(person: Person, **changes: Any) -> Any:
    """A batch that nobody has worked on."""
    from batches.models import Batch
    from batches.services import batch_create
    from tenants.scope import tenant_scope

    file = calls(person)
    with tenant_scope(person.tenant.id):
        Batch.objects.filter(state="validating").update(state="cancelled")
        made = batch_create(project=person.project, input_file_id=file.public_id, endpoint="/v1/embeddings")
        if changes:
            Batch.objects.filter(pk=made.pk).update(**changes)
            made.refresh_from_db()
        return made


def _batch(person: Person) -> Ids:
    return {"batch": a_batch(person).public_id}


def _input(person: Person) -> Ids:
    return _batch(person) | {"kind": "input"}


POLICIES: dict[str, Policy] = {
    "v1/batches": Policy(
        "api",
        success={"GET": 200, "POST": 200},
        make=_calls,
        bodies={"POST": lambda ids: {**ids, "endpoint": "/v1/embeddings", "completion_window": "24h"}},
        hidden={"GET": 200},
    ),
    "v1/batches/<str:batch>": Policy("api", success={"GET": 200}, make=_batch),
    "v1/batches/<str:batch>/cancel": Policy("api", success={"POST": 200}, make=_batch),
    f"{WORK}batches/": Policy("page", success={"GET": 200}),
    f"{WORK}batches/new": Policy("page", success={"GET": 200, "POST": 422}),
    f"{WORK}batches/upload": Policy("page", success={"GET": 200, "POST": 422}),
    f"{WORK}batches/<str:batch>/": Policy("page", success={"GET": 200}, make=_batch),
    f"{WORK}batches/<str:batch>/cancel": Policy("page", success={"POST": 302}, make=_batch),
    f"{WORK}batches/<str:batch>/<slug:kind>.jsonl": Policy("page", success={"GET": 200}, make=_input),
}
