"""A model trained on planted words, and live: what decides its answers is known beforehand."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.models import DatasetVersion
from data.services import dataset_create
from data.services.datasets import Source
from data.services.versions import version_write
from kit import storage
from kit.ids import new_id
from registry.bases import catalogue
from registry.names import model_name
from registry.services import artefact_store, model_publish
from serving.models import Deployment
from tenants.models import Project
from tenants.scope import tenant_scope
from tests.conftest import Person
from tests.data.making import checked_file
from tests.inference.artefacts import BASE
from tests.serving.made import deployed
from tests.training.lab.runs import report_of, train_here

ANIMALS = ["zebra", "giraffe", "elephant", "tiger", "monkey"]
TOOLS = ["hammer", "screwdriver", "wrench", "chisel", "pliers"]
FILLER = ["we", "saw", "that", "yesterday", "and", "wrote", "a", "long", "note", "about", "it", "for", "the", "others"]


def planted(rows: int = 700, *, seed: int = 4) -> bytes:
    """A CSV where one word of each text says its label, among words that say nothing."""
    rng, lines = random.Random(seed), ["text,label"]
    for number in range(rows):
        label, words = [("animal", ANIMALS), ("tool", TOOLS)][number % 2]
        text = [*rng.sample(FILLER, 6), rng.choice(words)]
        rng.shuffle(text)
        lines.append(f"{' '.join(text)} {number},{label}")
    return "\n".join(lines).encode()


@dataclass
class Ready:
    """An owner with a live model, trained on a dataset version of theirs."""

    person: Person
    model: str
    row: Deployment
    version: DatasetVersion
    report: dict[str, Any]


def trained_live(person: Person, method: str, folder: Path) -> Ready:
    """Train on such data with a method, and deploy the result."""
    with tenant_scope(person.tenant.id):
        file = checked_file(person, planted())
        version = dataset_create(project_id=person.project.id, name="Planted", sources=[Source(file)])
    version_write(tenant_id=person.tenant.id, version_id=version.id)
    with tenant_scope(person.tenant.id):
        version = DatasetVersion.objects.select_related("dataset").get(pk=version.pk)
    config: dict[str, Any] = {"task": "text-classification", "base": str(BASE.folder), "base_name": BASE.name}
    config |= {"method": method, "output": str(folder / "out"), "bootstrap": 100, "threads": 1}
    config |= {"epochs": 30, "batch_size": 32} if method == "head" else {"epochs": 1, "batch_size": 16}
    with storage.local_path(version.storage_key) as path:
        train_here(config | {"data": str(path), "learning_rate": 1e-2 if method == "head" else 5e-4})
    report = report_of(config)
    stored = artefact_store(tenant_id=person.tenant.id, folder=folder / "out" / "artefact")
    job = new_id()
    with tenant_scope(person.tenant.id):
        made = model_publish(
            project=Project.objects.get(pk=person.project.id),
            base=next(iter(catalogue().values())),
            task="text-classification",
            suffix="planted",
            name=model_name(base=BASE.name, tenant_slug=person.tenant.slug, suffix="planted", job_id=job),
            stored=stored,
            report=report,
            job_id=job,
            dataset_version_id=version.id,
        )
    row = deployed(person, made, alias="planted@prod")
    assert row.state == "live", row.reason
    return Ready(person, made.model.name, row, version, report)
