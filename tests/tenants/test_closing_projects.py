"""What is begun in a project while it is archived is done before, or not at all: nothing works on in a project that
nobody sees any more. And no key comes back from its own revocation."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connections

from batches.models import Batch
from console.people.closing import project_close
from serving.models import Deployment
from tenants.models import ApiKey
from tenants.scope import tenant_scope
from tenants.services.keys import key_create, key_revoke
from tenants.services.organisations import project_create
from tests.batches.making import chat, text_of
from tests.conftest import Person, make_person
from tests.gateway.writing_engine import CHAT
from tests.registry.making import make_model
from tests.training import searching
from training.models import Job, Sweep

pytestmark = pytest.mark.slow
ONCE = {"name": "late", "access": "all", "expires": "never", "once": "t0ken-of-the-form"}


@pytest.fixture
def ada() -> Person:
    person = make_person("ada")
    person.browser.get(f"{person.home}/")
    with tenant_scope(person.tenant.id):
        project_create(name="Stays")
    return person


def during(change: Callable[[], Any], ada: Person, asked: Callable[[], Any]) -> Any:
    """What is answered to who asks while a change is not committed."""

    def ask() -> Any:
        try:
            return asked()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as other:
        with tenant_scope(ada.tenant.id):
            change()
            waiting = other.submit(ask)
            time.sleep(0.6)
            assert not waiting.done(), "it takes its turn"
        return waiting.result(20)


def wishes(ada: Person) -> dict[str, Callable[[], Any]]:
    """Whatever begins something that works in a project."""
    model, sweep, keys = make_model(ada).model.name, searching.body(ada), f"{ada.workspace}/keys"
    job = {name: sweep[name] for name in ("model", "training_file")}
    calls = SimpleUploadedFile("calls.jsonl", text_of([chat("a", "one")]))
    lines = ada.api.upload("/v1/files", {"purpose": "batch", "file": calls}).json()["id"]
    return {
        "key": lambda: ada.browser.post(f"{keys}/new", ONCE),
        "rotation": lambda: ada.browser.post(
            f"{keys}/{ada.key_row.public_id}/rotate", {"overlap": "0", "once": "another-token"}
        ),
        "deployment": lambda: ada.api.post("/v1/deployments", {"model": model}),
        "job": lambda: ada.api.post("/v1/fine_tuning/jobs", job),
        "sweep": lambda: ada.api.post(searching.SWEEPS, sweep),
        "batch": lambda: ada.api.post(
            "/v1/batches", {"input_file_id": lines, "endpoint": CHAT, "completion_window": "24h"}
        ),
    }


@pytest.mark.parametrize("what", ["key", "rotation", "deployment", "job", "sweep", "batch"])
def test_nothing_begins_in_a_project_that_is_being_archived(ada: Person, what: str) -> None:
    wish = wishes(ada)[what]
    answer = during(lambda: project_close(project=ada.project), ada, wish)
    assert answer.status_code == (422 if what == "rotation" else 404), answer.content[:2000]
    with tenant_scope(ada.tenant.id):
        assert not ApiKey.objects.filter(project=ada.project, revoked_at=None).exists()
        for kind in (Deployment, Job, Sweep, Batch):
            assert not kind.objects.exists()


def test_a_key_that_is_being_revoked_has_no_successor(ada: Person) -> None:
    with tenant_scope(ada.tenant.id):
        key, _ = key_create(project=ada.project, name="leaked", created_by=ada.user)
    page = f"{ada.workspace}/keys/{key.public_id}/rotate"
    answer = during(
        lambda: key_revoke(key=key), ada, lambda: ada.browser.post(page, {"overlap": "24", "once": "yet-another"})
    )
    assert answer.status_code == 422 and "This key is closed." in answer.content.decode()
    with tenant_scope(ada.tenant.id):
        assert not ApiKey.objects.filter(name="leaked", revoked_at=None).exists()
