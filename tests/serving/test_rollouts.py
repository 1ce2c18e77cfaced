"""Rollouts, feedback and the idle rule over the API and the console, without calls."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.core import mail

from hooks.models import Event
from kit.clock import now
from kit.ids import new_id, parse_id, public_id
from registry.models import Alias
from registry.services import alias_set
from serving.idling import deployments_idle
from serving.models import Deployment, DeploymentEvent, Feedback, RequestRecord, Rollout
from serving.rollout_tick import rollouts_tick
from serving.services import deployment_create, deployment_stop
from tenants.scope import tenant_scope
from tests.conftest import Person, make_person
from tests.registry.making import make_model

ALIAS = "triage@prod"


def live(person: Person, alias: str = "", version: Any = None) -> Deployment:
    """A deployment that is live, with no engine behind it."""
    version = version or make_model(person)
    with tenant_scope(person.tenant.id):
        made = deployment_create(project=person.project, model=version.model.name, version=version.number, alias=alias)
        Deployment.objects.filter(pk=made.pk).update(state="live", live_at=now())
        if alias:
            alias_set(project=person.project, alias=alias, version=version)
        found: Deployment = Deployment.objects.get(pk=made.pk)
    return found


def logged(person: Person, deployment: Deployment | None = None, **fields: Any) -> str:
    """A request in the log; its id."""
    values = {"at": now(), "kind": "classify", "status": 200, "duration_ms": 1, "model": ALIAS} | fields
    if deployment is not None:
        values |= {"version_id": deployment.version_id}
    with tenant_scope(person.tenant.id):
        row = RequestRecord.objects.create(id=new_id(), project_id=person.project.id, **values)
    return public_id("req_", row.pk)


def begun(person: Person, candidate: Deployment, **more: Any) -> dict[str, Any]:
    answer = person.api.post(
        "/v1/rollouts", {"alias": ALIAS, "candidate": candidate.public_id, "mode": "canary"} | more
    )
    assert answer.status_code == 200, answer.content
    found: dict[str, Any] = answer.json()
    return found


@pytest.fixture
def ada() -> Person:
    return make_person("ada")


def test_a_rollout_is_made_listed_changed_and_rolled_back(ada: Person) -> None:
    live(ada, ALIAS)
    made = begun(ada, live(ada), steps=[{"share": 5}, {"share": 25.5, "seconds": 60, "calls": 7, "feedback": 2}])
    assert (made["state"], made["share"], made["mode"]) == ("running", 5, "canary")
    assert made["steps"][0] == {"share": 5, "seconds": 600, "calls": 100, "feedback": 0}
    assert made["steps"][1] == {"share": 25.5, "seconds": 60, "calls": 7, "feedback": 2}
    assert made["guards"]["auto_rollback"] is True
    path = f"/v1/rollouts/{made['id']}"
    assert [one["id"] for one in ada.api.get("/v1/rollouts").json()["data"]] == [made["id"]]
    changed = ada.api.post(path, {"share": 40}).json()
    assert (changed["share"], changed["steps"]) == (40, [])
    for _ in range(2):
        back = ada.api.post(f"{path}/rollback", {"reason": "We changed our mind."}).json()
        assert (back["state"], back["reason"], back["automatic"]) == ("rolled_back", "We changed our mind.", False)
    whole = ada.api.get(path).json()
    assert [event["kind"] for event in whole["events"]] == ["started", "share", "rolled_back"]
    for verb, body in (("", {"share": 3}), ("/promote", {})):
        answer = ada.api.post(path + verb, body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "rollout_ended")


def test_what_cannot_be_rolled_out_is_refused_with_the_reason(ada: Person) -> None:
    stable, candidate = live(ada, ALIAS), live(ada)
    version = make_model(ada)
    with tenant_scope(ada.tenant.id):
        loading = deployment_create(project=ada.project, model=version.model.name)
    good = {"alias": ALIAS, "candidate": candidate.public_id, "mode": "canary"}
    for change, status, param in (
        ({"alias": "nobody@prod"}, 404, "alias"),
        ({"alias": "No Alias"}, 400, "alias"),
        ({"candidate": "dep_00000000000000000000000000"}, 404, None),
        ({"candidate": loading.public_id}, 409, "candidate"),
        ({"candidate": stable.public_id}, 400, "candidate"),
        ({"mode": "blue"}, 400, "mode"),
        ({"share": 101}, 400, "share"),
        ({"share": "5"}, 400, "share"),
        ({"mode": "ab", "steps": [{"share": 5}]}, 400, "steps"),
        ({"steps": [{"share": 50}, {"share": 5}]}, 400, "steps"),
        ({"guards": {"alpha": 1}}, 400, "guards.alpha"),
        ({"drain_seconds": 1}, 400, "drain_seconds"),
        ({"colour": "red"}, 400, "colour"),
    ):
        answer = ada.api.post("/v1/rollouts", good | change)
        assert answer.status_code == status, (change, answer.content)
        assert answer.json()["error"]["param"] == param, (change, answer.content)
    begun(ada, candidate)
    again = ada.api.post("/v1/rollouts", good)
    assert (again.status_code, again.json()["error"]["code"]) == (409, "rollout_running")


def test_stopping_a_version_ends_its_rollout(ada: Person) -> None:
    live(ada, ALIAS)
    candidate = live(ada)
    made = begun(ada, candidate)
    with tenant_scope(ada.tenant.id):
        deployment_stop(deployment=candidate)
    found = ada.api.get(f"/v1/rollouts/{made['id']}").json()
    assert (found["state"], found["reason"]) == ("rolled_back", "The deployment of the candidate was stopped.")


def test_an_old_version_that_another_name_needs_is_kept(ada: Person) -> None:
    stable = live(ada, ALIAS)
    made = begun(ada, live(ada), drain_seconds=30)
    with tenant_scope(ada.tenant.id):
        alias_set(project=ada.project, alias="triage@old", version=stable.version)
    ada.api.post(f"/v1/rollouts/{made['id']}/promote")
    with tenant_scope(ada.tenant.id):
        Rollout.objects.update(ended_at=now() - dt.timedelta(minutes=5))
    rollouts_tick()
    with tenant_scope(ada.tenant.id):
        assert Deployment.objects.get(pk=stable.pk).state == "live"
    events = ada.api.get(f"/v1/rollouts/{made['id']}").json()["events"]
    assert events[-1]["kind"] == "kept"


def test_promoting_twice_at_once_or_after_the_alias_was_moved_is_refused(ada: Person) -> None:
    live(ada, ALIAS)
    made = begun(ada, live(ada), mode="ab")
    third = make_model(ada)
    with tenant_scope(ada.tenant.id):
        alias_set(project=ada.project, alias=ALIAS, version=third)
    answer = ada.api.post(f"/v1/rollouts/{made['id']}/promote")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "alias_moved")
    with tenant_scope(ada.tenant.id):
        assert Alias.objects.get().version_id == third.pk


def test_feedback_is_given_once_for_a_request_and_can_be_changed(ada: Person) -> None:
    row = live(ada, ALIAS)
    request = logged(ada, row, arm="stable")
    first = ada.api.post("/v1/feedback", {"request_id": request, "correct": True}).json()
    same = ada.api.post("/v1/feedback", {"request_id": request, "correct": True}).json()
    assert first == same
    changed = ada.api.post("/v1/feedback", {"request_id": request, "correct": False, "label": "refund"}).json()
    assert (changed["id"], changed["correct"], changed["label"]) == (first["id"], False, "refund")
    assert (changed["request_id"], changed["model"], changed["arm"]) == (request, ALIAS, "stable")
    assert ada.api.get("/v1/feedback").json()["data"] == [changed]
    with tenant_scope(ada.tenant.id):
        assert Feedback.objects.get().version_id == row.version_id


def test_feedback_needs_an_answered_request_of_the_own_project(ada: Person) -> None:
    stranger = make_person("ben")
    theirs, failed, shadow = logged(stranger), logged(ada, status=503), logged(ada, arm="shadow")
    unknown = []
    for request in (theirs, public_id("req_", new_id()), shadow, "req_nonsense"):
        answer = ada.api.post("/v1/feedback", {"request_id": request, "correct": True})
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "request_not_found")
        unknown.append(answer.content.decode().replace(request, ""))
    assert len(set(unknown)) == 1
    answer = ada.api.post("/v1/feedback", {"request_id": failed, "correct": True})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "request_id")
    for body in ({"request_id": failed}, {"request_id": failed, "correct": "yes"}, {"correct": True}):
        assert ada.api.post("/v1/feedback", body).status_code == 400


def aged(person: Person, deployment: Deployment, days: float) -> None:
    with tenant_scope(person.tenant.id):
        Deployment.objects.filter(pk=deployment.pk).update(live_at=now() - dt.timedelta(days=days))


def rule(person: Person, action: str, days: int) -> int:
    path = f"{person.workspace}/deployments/idle"
    return int(person.browser.post(path, {"action": action, "days": days}).status_code)


def test_what_nobody_calls_is_told_of_once_or_stopped_as_the_project_wants(ada: Person) -> None:
    called, idle = live(ada, ALIAS), live(ada)
    for row in (called, idle):
        aged(ada, row, 10)
    logged(ada, called, at=now() - dt.timedelta(days=1))
    deployments_idle()
    with tenant_scope(ada.tenant.id):
        assert Deployment.objects.get(pk=called.pk).last_called_at is not None
        assert not Event.objects.exists(), "without a rule nothing happens"
    assert rule(ada, "warn", 7) == 302
    mail.outbox.clear()
    for _ in range(2):
        deployments_idle()
    with tenant_scope(ada.tenant.id):
        assert [event.data for event in Event.objects.all()] == [{"id": idle.public_id}]
        assert Deployment.objects.get(pk=idle.pk).state == "live"
        said = DeploymentEvent.objects.filter(deployment=idle).latest("pk").message
    assert said == "Nobody has called it for 7 days."
    assert [one for one in mail.outbox if "for 7 days" in one.subject]
    aged(ada, idle, 20)
    with tenant_scope(ada.tenant.id):
        Deployment.objects.filter(pk=idle.pk).update(idle_told_at=None)
    rule(ada, "stop", 14)
    deployments_idle()
    with tenant_scope(ada.tenant.id):
        stopped = Deployment.objects.get(pk=idle.pk)
        assert (stopped.state, stopped.reason) == ("stopped", "Nobody has called it for 14 days.")
        assert Deployment.objects.get(pk=called.pk).state == "live"
    again = ada.browser.post(f"{ada.workspace}/deployments/{idle.public_id}/again")
    assert again.status_code == 302
    with tenant_scope(ada.tenant.id):
        assert Deployment.objects.filter(version_id=idle.version_id, state="loading").count() == 1


def test_a_rollouts_candidate_is_not_stopped_for_being_idle(ada: Person) -> None:
    stable, candidate = live(ada, ALIAS), live(ada)
    begun(ada, candidate, share=0)
    rule(ada, "stop", 1)
    for row in (stable, candidate):
        aged(ada, row, 3)
    deployments_idle()
    with tenant_scope(ada.tenant.id):
        assert Deployment.objects.filter(state="live").count() == 2


def test_the_console_begins_changes_promotes_and_undoes(ada: Person) -> None:
    stable, candidate = live(ada, ALIAS), live(ada)
    work = f"{ada.workspace}/"
    empty = ada.browser.get(f"{work}rollouts/").content.decode()
    assert "No rollouts yet." in empty
    form = {"alias": ALIAS, "candidate": candidate.public_id, "mode": "canary", "climb": "on", "minutes": 5, "calls": 9}
    made = ada.browser.post(f"{work}rollouts/new", form)
    assert made.status_code == 302, made.content.decode()[:3000]
    page = made["Location"]
    with tenant_scope(ada.tenant.id):
        row = Rollout.objects.get()
        assert [step["share"] for step in row.steps] == [500, 2_500, 5_000, 10_000]
        assert {(step["seconds"], step["calls"]) for step in row.steps} == {(300, 9)}
    text = ada.browser.get(page).content.decode()
    assert "Promote candidate" in text
    assert "went from" not in text
    assert ada.browser.post(page, {"share": "150"}).status_code == 422
    assert ada.browser.post(page, {"share": "12.5"}).status_code == 302
    assert "went from 5% to 12.5%" in ada.browser.get(page).content.decode()
    assert ada.browser.post(f"{page}promote").status_code == 302
    assert "Undo" in ada.browser.get(page).content.decode()
    assert ada.browser.post(f"{page}rollback").status_code == 302
    assert "Begin again" in ada.browser.get(page).content.decode()
    with tenant_scope(ada.tenant.id):
        assert Alias.objects.get().version_id == stable.version_id
    again = ada.browser.post(f"{work}rollouts/new", form | {"minutes": "x"})
    assert again.status_code == 422


def test_a_second_version_of_a_model_can_be_deployed_beside_the_first(ada: Person) -> None:
    first = make_model(ada)
    row = live(ada, version=first)
    answer = ada.api.post("/v1/deployments", {"model": first.model.name, "version": 1})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "already_deployed")
    missing = ada.api.post("/v1/deployments", {"model": first.model.name, "version": 7})
    assert (missing.status_code, missing.json()["error"]["param"]) == (404, "version")
    with tenant_scope(ada.tenant.id):
        assert parse_id("dep_", row.public_id) == row.pk
