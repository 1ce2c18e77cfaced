"""The models of a sweep's losers: deleted together, brought back together, and never the wrong ones."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connections

from registry.models import Model, ModelVersion
from registry.services import alias_set, model_delete, model_serving_set
from tenants.models import AuditEvent
from tenants.scope import tenant_scope
from tenants.services.keys import key_create
from tests.conftest import Api, Person, make_person
from tests.contracts.conformance import answer_schema, differences
from tests.registry.making import make_model
from tests.training.searching import SWEEPS, end, reload, roomy, running, step, trials
from training.models import Sweep
from training.services import losers_delete

pytestmark = pytest.mark.slow  # drives many jobs through the queue

PATH = f"{SWEEPS}/{{sweep}}/losers"


@pytest.fixture(scope="module")
def ada() -> Person:
    """One owner for the whole file, with room for many jobs."""
    return roomy()


def ended(person: Person, *scores: float) -> tuple[Sweep, list[ModelVersion]]:
    """A sweep that is over, and the model of each of its trials."""
    rates = {"x_method": ["head"], "learning_rate_multiplier": [place + 1 for place in range(len(scores))]}
    sweep = running(person, parallel=len(scores), space=rates)
    made = []
    for job, score in zip(trials(sweep), scores, strict=True):
        made.append(make_model(person, suffix=job.suffix, job_id=job.pk))
        end(job, score=score, made=made[-1])
    assert step(sweep) == "succeeded"
    return reload(person, sweep.public_id), made


def ask(person: Person, verb: str, sweep: Sweep, rest: str = "") -> Any:
    """One request about its losers."""
    return person.api.request(verb, f"{SWEEPS}/{sweep.public_id}/losers{rest}")


def there(person: Person, made: list[ModelVersion]) -> list[bool]:
    """Which of the models answer by their names."""
    return [person.api.get(f"/v1/models/{version.model.name}").status_code == 200 for version in made]


def test_losers_are_named_deleted_together_and_brought_back(ada: Person) -> None:
    sweep, made = ended(ada, 0.5, 0.9, 0.6)
    seen = ask(ada, "get", sweep).json()
    assert differences(answer_schema("get", PATH, 200), seen) == []
    lost = {version.model.name for version in (made[0], made[2])}
    assert set(seen["models"]) == lost and seen["bytes"] == made[0].size_bytes + made[2].size_bytes > 0
    assert seen["deleted"] is False and there(ada, made) == [True] * 3, "a look deletes nothing"
    gone = ask(ada, "delete", sweep).json()
    assert differences(answer_schema("delete", PATH, 200), gone) == []
    assert (set(gone["models"]), gone["bytes"], gone["deleted"]) == (lost, seen["bytes"], True)
    assert there(ada, made) == [False, True, False]
    with tenant_scope(ada.tenant.id):
        event = AuditEvent.objects.get(action="sweep.losers_deleted", target_id=sweep.public_id)
        names = {one.target_label for one in AuditEvent.objects.filter(action="model.deleted")}
    assert event.after == {"models": 2, "bytes": seen["bytes"]} and lost <= names
    again = ask(ada, "delete", sweep).json()
    assert (again["models"], again["bytes"]) == ([], 0)
    back = ask(ada, "post", sweep, "/restore").json()
    assert differences(answer_schema("post", f"{PATH}/restore", 200), back) == []
    assert set(back["models"]) == lost and there(ada, made) == [True] * 3
    assert ask(ada, "post", sweep, "/restore").json()["models"] == []


def test_what_was_named_or_ever_deployed_stays(ada: Person) -> None:
    sweep, made = ended(ada, 0.9, 0.5, 0.6, 0.7, 0.8)
    with tenant_scope(ada.tenant.id):
        alias_set(project=ada.project, alias="kept@prod", version=made[1])
        model_serving_set(model=made[2].model, state="live")
        model_serving_set(model=made[3].model, state="stopped")
    assert ask(ada, "delete", sweep).json()["models"] == [made[4].model.name]
    assert there(ada, made) == [True, True, True, True, False]


def test_an_undo_brings_back_what_went_with_it_and_not_what_was_deleted_before(ada: Person) -> None:
    sweep, made = ended(ada, 0.9, 0.5, 0.6)
    with tenant_scope(ada.tenant.id):
        model_delete(model=made[1].model)
    ask(ada, "delete", sweep)
    assert ask(ada, "post", sweep, "/restore").json()["models"] == [made[2].model.name]
    assert there(ada, made) == [True, False, True]


def test_an_undo_brings_back_what_went_with_it_and_not_what_was_deleted_after(ada: Person) -> None:
    sweep, made = ended(ada, 0.9, 0.5, 0.6)
    assert ask(ada, "post", sweep, "/restore").json()["models"] == [], "nothing was deleted together"
    with tenant_scope(ada.tenant.id):
        alias_set(project=ada.project, alias="apart@prod", version=made[1])
    ask(ada, "delete", sweep)
    with tenant_scope(ada.tenant.id):
        model_delete(model=made[1].model)
    assert ask(ada, "post", sweep, "/restore").json()["models"] == [made[2].model.name]
    assert there(ada, made) == [True, False, True]
    with tenant_scope(ada.tenant.id):
        back = AuditEvent.objects.get(action="sweep.losers_restored", target_id=sweep.public_id)
    assert back.after["models"] == 1


def test_while_it_searches_there_are_no_losers(ada: Person) -> None:
    sweep = running(ada, parallel=1)
    end(trials(sweep)[0], score=0.5)
    assert ask(ada, "get", sweep).json()["models"] == []
    refused = ask(ada, "delete", sweep)
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "sweep_open")
    page = ada.browser.get(f"{ada.workspace}/sweeps/{sweep.public_id}/").content.decode()
    assert "Delete losers" not in page


def test_two_who_delete_at_once_delete_each_model_once(ada: Person) -> None:
    sweep, made = ended(ada, 0.9, 0.5, 0.6)

    def work(_: int) -> int:
        try:
            with tenant_scope(ada.tenant.id):
                return len(losers_delete(sweep=sweep).names)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(work, range(2))) == [0, 2]
    assert there(ada, made) == [True, False, False]


def test_the_page_says_how_many_and_how_large_and_offers_the_way_back(ada: Person) -> None:
    sweep, made = ended(ada, 0.9, 0.5, 0.6)
    page = f"{ada.workspace}/sweeps/{sweep.public_id}"
    text = " ".join(ada.browser.get(f"{page}/").content.decode().split())
    assert "Delete 2 models that have not won?" in text and "Their weights are" in text
    said = ada.browser.post(f"{page}/losers", follow=True).content.decode()
    assert "2 models were deleted." in said and f'action="{page}/losers/restore"' in said
    assert "Delete losers" not in said, "there is nothing left to delete"
    assert "deleted models can be brought back" in ada.browser.get(f"{ada.workspace}/models/").content.decode()
    assert "2 models are back." in ada.browser.post(f"{page}/losers/restore", follow=True).content.decode()
    assert there(ada, made) == [True] * 3


def test_who_may_not_delete_models_deletes_no_losers(ada: Person) -> None:
    sweep, made = ended(ada, 0.9, 0.5)
    viewer = make_person("viewer", beside=ada, role="viewer")
    page = f"{viewer.workspace}/sweeps/{sweep.public_id}"
    assert "Delete losers" not in viewer.browser.get(f"{page}/").content.decode()
    assert viewer.browser.post(f"{page}/losers").status_code == 403
    with tenant_scope(ada.tenant.id):
        _, plaintext = key_create(project=ada.project, name="reads", scopes=["jobs.read", "jobs.write", "models.read"])
    path = f"{SWEEPS}/{sweep.public_id}/losers"
    assert Api(plaintext).get(path).status_code == 200 and Api(plaintext).delete(path).status_code == 403
    with tenant_scope(ada.tenant.id):
        assert Model.objects.filter(pk__in=[version.model_id for version in made], deleted_at=None).count() == 2
