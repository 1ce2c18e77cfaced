"""What the playground refuses before anything is asked is in the request log, as what the API refuses is."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils.html import escape

from kit.clock import now
from kit.ids import new_id
from registry.models import Model, ModelVersion
from serving.models import Deployment, RequestRecord
from serving.services import deployment_stop
from tenants.scope import tenant_scope
from tests.conftest import Person, make_person
from tests.console.things import made_deployment

UNKNOWN = (404, "model_not_found")
WRONG = (400, "invalid_request_error")


@pytest.fixture
def ada() -> Person:
    return make_person("ada")


def send(person: Person, path: str, **form: Any) -> int:
    status: int = person.browser.post(f"{person.workspace}/{path}", form).status_code
    return status


def newest(person: Person) -> tuple[str, str, int, str]:
    """The newest of the log, which its page shows as well: kind, model, status and code."""
    with tenant_scope(person.tenant.id):
        row = RequestRecord.objects.latest("pk")
    page = person.browser.get(f"{person.workspace}/requests/?code={row.code}").content.decode()
    assert f"/requests/{row.public_id}/" in page and escape(row.model) in page
    shown = person.browser.get(f"{person.workspace}/requests/{row.public_id}/").content.decode()
    assert row.code in shown
    return row.kind, row.model, row.status, row.code


def count(person: Person) -> int:
    with tenant_scope(person.tenant.id):
        return RequestRecord.objects.count()


@pytest.mark.parametrize(("path", "field"), [("playground/", "model"), ("playground/why", "deployment")])
def test_a_call_of_a_stopped_model_is_logged_under_its_name(ada: Person, path: str, field: str) -> None:
    row = made_deployment(ada)
    with tenant_scope(ada.tenant.id):
        deployment_stop(deployment=row)
        name = row.model.name
    assert send(ada, path, **{field: row.public_id, "text": "where is my parcel"}) in (409, 422)
    assert newest(ada) == ("classify", name, *UNKNOWN)
    assert count(ada) == 1


@pytest.mark.parametrize(("path", "field"), [("playground/", "model"), ("playground/why", "deployment")])
@pytest.mark.parametrize("asked", ["ft:nobody:knows", "dep_01k9zzzzzzzzzzzzzzzzzzzzzz", "a\x00b", "x" * 400])
def test_a_call_of_no_model_here_is_logged_as_it_was_named(ada: Person, path: str, field: str, asked: str) -> None:
    assert send(ada, path, **{field: asked, "text": "where is my parcel"}) in (404, 422)
    kind, model, *said = newest(ada)
    assert (kind, model) == ("classify", asked.replace("\x00", "")[:200])
    assert tuple(said) in (UNKNOWN, WRONG)


def test_a_strangers_deployment_is_nobodys(ada: Person) -> None:
    theirs = made_deployment(make_person("eve"))
    assert send(ada, "playground/why", deployment=theirs.public_id, text="where") == 404
    assert newest(ada) == ("classify", theirs.public_id, *UNKNOWN), "its model's name is none of theirs to see"


def test_a_second_model_that_is_not_there_is_the_one_that_is_logged(ada: Person) -> None:
    row = made_deployment(ada)
    assert send(ada, "playground/", model=row.public_id, against="dep_of_nobody", text="where") == 422
    assert newest(ada) == ("classify", "dep_of_nobody", *UNKNOWN)
    assert send(ada, "playground/", model=row.public_id, text="") == 422
    assert newest(ada) == ("classify", row.model.name, *WRONG)
    assert send(ada, "playground/why", deployment=row.public_id, text="") == 422
    assert newest(ada) == ("classify", row.model.name, *WRONG)
    assert send(ada, "playground/", text="where") == 422
    assert newest(ada)[:2] == ("classify", ""), "nothing was named"


def test_a_version_to_which_no_name_leads_is_logged_under_its_models(ada: Person) -> None:
    first = made_deployment(ada)
    with tenant_scope(ada.tenant.id):
        Model.objects.filter(pk=first.model_id).update(task="text-generation")
        version = ModelVersion.objects.get(pk=first.version_id)
        version.pk, version.number, version._state.adding = new_id(), 2, True
        version.save()
        second = Deployment.objects.get(pk=first.pk)
        second.pk, second.version, second.live_at, second._state.adding = new_id(), version, now(), True
        second.save()
    assert send(ada, "playground/", model=second.public_id, text="Once upon a time") == 422
    assert newest(ada) == ("chat", first.model.name, *WRONG)


def test_who_may_call_nothing_calls_nothing(ada: Person) -> None:
    row = made_deployment(ada)
    viewer = make_person("vic", beside=ada, role="viewer")
    assert send(viewer, "playground/why", deployment=row.public_id, text="") == 403
    assert send(viewer, "playground/", model="ft:nobody:knows", text="where") == 403
    assert count(ada) == 0
