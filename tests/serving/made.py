"""Published models and an engine beside the tests, for this room and for the gateway."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.conf import settings

from inference.client import BlockingClient
from inference.errors import Unavailable
from kit.ids import new_id
from registry.bases import catalogue
from registry.models import ModelVersion
from registry.names import model_name
from registry.services import artefact_store, model_publish
from serving import services
from serving.models import Deployment
from tenants.models import Project
from tenants.scope import tenant_scope
from tests.conftest import Person
from tests.inference import reference
from tests.inference.artefacts import Made, make, record_parity

ROOT = Path(__file__).resolve().parents[2]
TEXTS = ["where is my parcel", "I want my money back", "ok", "the app crashes whenever I open it on my phone"]


@contextlib.contextmanager
def engine_running(**more: str) -> Iterator[None]:
    """The engine at the address that the settings name; `more` are further words of its environment."""
    environment = os.environ | {"TUNESMITH_ENGINE_TOKEN": settings.ENGINE_TOKEN, "PYTHONPATH": str(ROOT)} | more
    process = subprocess.Popen(
        [sys.executable, "-m", "inference", "--listen", settings.ENGINE_ADDRESS, "--precision", "fp32"],
        env=environment,
        cwd=ROOT,
    )
    try:
        _wait(process)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def _wait(process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, "the engine ended before it was ready"
        try:
            with BlockingClient(settings.ENGINE_ADDRESS, settings.ENGINE_TOKEN) as client:
                client.health()
            return
        except Unavailable:
            time.sleep(0.05)
    raise AssertionError("the engine was not ready within 60 s")


def publish(person: Person, made: Made, *, suffix: str = "intents") -> ModelVersion:
    """Register an artefact as a model of the person's project, as training does."""
    base, job = next(iter(catalogue().values())), new_id()
    stored = artefact_store(tenant_id=person.tenant.id, folder=made.folder)
    with tenant_scope(person.tenant.id):
        return model_publish(
            project=Project.objects.get(pk=person.project.id),
            base=base,
            task=stored.sound.manifest["task"],
            suffix=suffix,
            name=model_name(base=base.name, tenant_slug=person.tenant.slug, suffix=suffix, job_id=job),
            stored=stored,
            report={},
            job_id=job,
        )


def trained(person: Person, folder: Path, method: str = "head", **options: Any) -> tuple[ModelVersion, Made]:
    """A model with an honest parity file, published."""
    made = make(folder, method, **options)
    record_parity(made, TEXTS, reference.probabilities(made, TEXTS))
    return publish(person, made), made


def deployed(person: Person, version: ModelVersion, alias: str = "") -> Deployment:
    """Deploy and load, as the task does."""
    with tenant_scope(person.tenant.id):
        project = Project.objects.get(pk=person.project.id)
        row = services.deployment_create(project=project, model=version.model.name, alias=alias)
    services.deployment_load(tenant_id=person.tenant.id, deployment_id=row.id)
    with tenant_scope(person.tenant.id):
        return Deployment.objects.get(pk=row.id)
