"""What an open batch waits to call is not stopped for being idle."""

from __future__ import annotations

import datetime as dt
import json

import pytest
from django.core import mail
from django.core.files.uploadedfile import SimpleUploadedFile

from batches.models import Batch
from kit.clock import now
from kit.ids import parse_id
from serving.idling import deployments_idle
from serving.models import Deployment
from tenants.scope import tenant_scope
from tests.conftest import Person, make_person
from tests.console.things import made_deployment


def made(person: Person, model: str) -> str:
    """A batch of one line for a model, that no worker has looked at yet; its id."""
    body = {"model": model, "input": "where is my parcel"}
    line = {"custom_id": "one", "method": "POST", "url": "/v1/classify", "body": body}
    content = SimpleUploadedFile("calls.jsonl", json.dumps(line).encode() + b"\n")
    file = person.api.upload("/v1/files", {"purpose": "batch", "file": content})
    asked = {"input_file_id": file.json()["id"], "endpoint": "/v1/classify", "completion_window": "24h"}
    answer = person.api.post("/v1/batches", asked)
    assert answer.status_code == 200, answer.content
    return str(answer.json()["id"])


def idle(person: Person, alias: str = "") -> Deployment:
    """A deployment that nobody has called for days, in a project that stops such."""
    row = made_deployment(person)
    with tenant_scope(person.tenant.id):
        Deployment.objects.filter(pk=row.pk).update(live_at=now() - dt.timedelta(days=9))
    rule = person.browser.post(f"{person.workspace}/deployments/idle", {"action": "stop", "days": 1})
    assert rule.status_code == 302
    return row


def state(row: Deployment) -> str:
    with tenant_scope(row.tenant_id):
        return str(Deployment.objects.get(pk=row.pk).state)


def change(person: Person, batch: str, **values: object) -> None:
    with tenant_scope(person.tenant.id):
        Batch.objects.filter(pk=parse_id("batch_", batch)).update(**values)


@pytest.mark.parametrize("waits_for", ["", "spend_limit"])
def test_a_deployment_that_an_open_batch_waits_to_call_is_left_alone_until_that_ends(waits_for: str) -> None:
    ada = make_person("ada")
    row = idle(ada)
    batch = made(ada, row.model.name)
    mail.outbox.clear()
    deployments_idle()
    assert state(row) == "live", "nobody knows yet what the batch calls"
    change(ada, batch, state="in_progress", model=row.model.name, waits_for=waits_for)
    deployments_idle()
    assert state(row) == "live" and not [one for one in mail.outbox if "Nobody has called" in one.subject]
    change(ada, batch, state="completed")
    deployments_idle()
    assert state(row) == "stopped"


def test_a_batch_of_another_model_holds_nothing() -> None:
    ada = make_person("ada")
    row = idle(ada)
    change(ada, made(ada, "all-MiniLM-L6-v2"), state="in_progress", model="all-MiniLM-L6-v2")
    deployments_idle()
    assert state(row) == "stopped"


def test_a_batch_that_calls_an_alias_holds_what_stands_behind_it() -> None:
    ada = make_person("ada")
    row = idle(ada)
    answer = ada.browser.post(f"{ada.workspace}/models/{row.model.public_id}/", {"alias": "triage@prod"})
    assert answer.status_code == 302
    change(ada, made(ada, "triage@prod"), state="in_progress", model="triage@prod")
    deployments_idle()
    assert state(row) == "live"
