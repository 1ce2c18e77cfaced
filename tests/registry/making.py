"""Models for tests, made through the registry's own door from small artefact folders."""

import tempfile
from pathlib import Path
from uuid import UUID

from kit.ids import new_id
from registry.bases import catalogue
from registry.models import ModelVersion
from registry.names import model_name
from registry.services import artefact_store, model_publish
from tenants.scope import tenant_scope
from tests.conftest import Person
from tests.registry.folders import REPORT, artefact


def make_model(
    person: Person, *, suffix: str = "tried", job_id: UUID | None = None, task: str = "text-classification",
    name: str = "",
) -> ModelVersion:  # fmt: skip
    """A published model of a person's project, of a job where one is named; or the next version of the model `name`."""
    base = catalogue()["all-MiniLM-L6-v2"]
    job_id = job_id or new_id()
    with tempfile.TemporaryDirectory() as folder:
        changes = {"task": task} if task == "text-classification" else {"task": task, "labels": [], "method": "lora"}
        stored = artefact_store(tenant_id=person.tenant.id, folder=artefact(Path(folder) / "artefact", **changes))
    with tenant_scope(person.tenant.id):
        return model_publish(
            project=person.project,
            base=base,
            task=task,
            suffix=suffix,
            name=name or model_name(base=base.name, tenant_slug=person.tenant.slug, suffix=suffix, job_id=job_id),
            stored=stored,
            report=REPORT,
            job_id=job_id,
        )
