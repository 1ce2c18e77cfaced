"""Rollouts over the API and the console, without calls."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from billing.services.entitlements import override_set, plan_grant
from kit.clock import now
from kit.ids import parse_id
from registry.models import Alias, Model, ModelVersion
from registry.services import alias_set
from serving.models import Dedicated, Deployment, Rollout
from serving.rollout_tick import old_stop, rollout_look, rollouts_tick
from serving.services import deployment_create, deployment_stop
from tenants.models import AuditEvent
from tenants.scope import tenant_scope
from tests.conftest import Person, make_person
from tests.registry.making import make_model
from tests.serving.rolling import ALIAS, begun, live, logged
from tests.training.test_races import at_once

HELD_OUT = {
    "confidence": 0.95, "method": "clopper-pearson", "n": 500,
    "points": [
        {"threshold": 0.6, "n": 400, "right": 390, "precision": 0.975, "at_least": 0.95, "coverage": 0.8},
    ],
}  # fmt: skip


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


def test_a_shadow_is_refused_by_name_where_no_number_would_be_honest(ada: Person) -> None:
    def refused(task: str, change: Callable[[ModelVersion], object] | None = None) -> str:
        stable, candidate = (make_model(ada) for _ in range(2))
        alias = f"triage-{stable.pk.hex[-8:]}@prod"
        live(ada, alias, stable)
        body = {"alias": alias, "candidate": live(ada, version=candidate).public_id, "mode": "shadow"}
        with tenant_scope(ada.tenant.id):
            Model.objects.filter(pk__in=[stable.model_id, candidate.model_id]).update(task=task)
            if change is not None:
                change(candidate)
        answer = ada.api.post("/v1/rollouts", body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "not_comparable"), answer.content
        assert answer.json()["error"]["param"] == "mode"
        assert ada.api.post("/v1/rollouts", body | {"mode": "ab"}).status_code == 200
        said: str = answer.json()["error"]["message"]
        return said

    def another_base(version: ModelVersion) -> None:
        Model.objects.filter(pk=version.model_id).update(base="another-base")

    def another_quantity(version: ModelVersion) -> None:
        ModelVersion.objects.filter(pk=version.pk).update(labels=["a", "b", "price"])

    with tenant_scope(ada.tenant.id):
        plan_grant(plan="enterprise", reason="tests", created_by="tests")
    assert "of all-MiniLM-L6-v2, the candidate's of another-base" in refused("embeddings", another_base)
    assert "measures a, b, c, the candidate a, b, price" in refused("regression", another_quantity)


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


@pytest.mark.slow
def test_an_alias_given_by_hand_and_a_rollout_that_moves_it_wait_for_each_other(ada: Person) -> None:
    stable, candidate = live(ada, ALIAS), live(ada)
    for _ in range(12):
        ada.api.post(f"/v1/deployments/{stable.public_id}", {"alias": ALIAS})
        path = f"/v1/rollouts/{begun(ada, candidate)['id']}"
        calls = (
            (f"{path}/promote", None),
            (f"{path}/rollback", None),
            (f"/v1/deployments/{stable.public_id}", {"alias": ALIAS}),
            (f"/v1/deployments/{candidate.public_id}", {"alias": ALIAS}),
        )
        answers = at_once(*(partial(ada.api.post, *call) for call in calls))
        assert {answer.status_code for answer in answers} <= {200, 409}, [answer.content for answer in answers]
        ada.api.post(f"{path}/rollback")
        with tenant_scope(ada.tenant.id):
            stands = Alias.objects.get(name="triage", stage="prod").version_id
            shown = Deployment.objects.filter(state="live", alias=ALIAS).values_list("version_id", flat=True)
            assert set(shown) <= {stands}


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


@pytest.mark.parametrize("share", [0, 0.001, 1e-9, 100.5])
def test_a_step_has_a_share_of_callers(ada: Person, share: float) -> None:
    live(ada, ALIAS)
    body = {"alias": ALIAS, "candidate": live(ada).public_id, "mode": "canary", "steps": [{"share": share}]}
    answer = ada.api.post("/v1/rollouts", body)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, "steps[0].share")
    assert "from 0.01 to 100" in error["message"]


def test_the_form_offers_and_takes_only_versions_that_the_alias_does_not_stand_for(ada: Person) -> None:
    stable, candidate, new = live(ada, ALIAS), live(ada), f"{ada.workspace}/rollouts/new"
    shown = ada.browser.get(new).content.decode()
    assert candidate.public_id in shown and stable.public_id not in shown
    form = {"alias": ALIAS, "candidate": stable.public_id, "mode": "ab", "minutes": 5, "calls": 9}
    refused = ada.browser.post(new, form)
    assert refused.status_code == 422
    assert "Choose another version that is live" in refused.content.decode()
    other = live(ada, "other@prod")
    assert other.public_id in ada.browser.get(f"{new}?alias={ALIAS}").content.decode()
    shown = ada.browser.get(f"{new}?alias=other@prod").content.decode()
    assert stable.public_id in shown and other.public_id not in shown
    made = ada.browser.post(new, form | {"alias": "other@prod"})
    assert made.status_code == 302, "what another alias stands for may be a candidate"


def test_what_is_not_a_versions_own_doing_counts_for_neither(ada: Person) -> None:
    live(ada, ALIAS)
    candidate = live(ada)
    made = begun(ada, candidate, guards={"latency_ms": 100}, share=50)
    for _ in range(30):
        for fields in (
            {"kind": "batch_classify", "duration_ms": 60_000},
            {"model_state": "loaded; ms=900", "duration_ms": 950},
            {"explained": True, "duration_ms": 900},
            {"status": 503, "code": "slow_down"},
            {"status": 503, "code": "model_cold", "duration_ms": 25_000},
            {"duration_ms": 7},
        ):
            logged(ada, candidate, arm="candidate", **fields)
    look = {"tenant_id": ada.tenant.id, "rollout_id": parse_id("rollout_", made["id"])}
    assert rollout_look(**look) == "waiting"
    found = ada.api.get(f"/v1/rollouts/{made['id']}").json()["figures"]["candidate"]
    assert (found["calls"], found["errors"], found["p50_ms"], found["p95_ms"]) == (120, 0, 7, 7)
    for _ in range(30):
        logged(ada, candidate, arm="candidate", duration_ms=101)
    assert rollout_look(**look) == "latency"
    reason = ada.api.get(f"/v1/rollouts/{made['id']}").json()["reason"]
    assert reason.startswith("30 of 60 timed calls")


def test_an_old_version_that_was_gone_back_to_is_not_stopped(ada: Person) -> None:
    stable = live(ada, ALIAS)
    made = begun(ada, live(ada), drain_seconds=30)
    ada.api.post(f"/v1/rollouts/{made['id']}/promote")
    ada.api.post(f"/v1/rollouts/{made['id']}/rollback")
    with tenant_scope(ada.tenant.id):
        Rollout.objects.update(ended_at=now() - dt.timedelta(minutes=5))
    assert old_stop(tenant_id=ada.tenant.id, rollout_id=parse_id("rollout_", made["id"])) is False
    with tenant_scope(ada.tenant.id):
        assert Deployment.objects.get(pk=stable.pk).state == "live"


def test_a_candidate_keeps_its_own_alias_through_a_promotion_and_back(ada: Person) -> None:
    stable, candidate = live(ada, ALIAS), live(ada, "triage@next")
    made = begun(ada, candidate, mode="ab")
    for verb, shown in (("promote", ["", "triage@next"]), ("rollback", [ALIAS, "triage@next"])):
        assert ada.api.post(f"/v1/rollouts/{made['id']}/{verb}").status_code == 200
        with tenant_scope(ada.tenant.id):
            assert [Deployment.objects.get(pk=one.pk).alias for one in (stable, candidate)] == shown


def test_a_promise_of_precision_is_not_lost_by_a_rollout_or_a_second_deployment(ada: Person, settings: Any) -> None:
    settings.DEDICATED_REPLICAS = 10_000  # other tests leave some promised
    with tenant_scope(ada.tenant.id):
        override_set(limits={"own_engines": 2}, reason="tests", created_by="tests")
    stable, candidate = live(ada, ALIAS), live(ada)
    wanted = {"alias": ALIAS, "candidate": candidate.public_id, "mode": "ab"}
    with tenant_scope(ada.tenant.id):
        Deployment.objects.filter(pk=stable.pk).update(precision=0.9)
        Dedicated.objects.create(deployment=stable, replicas_max=2, idle_seconds=77)
        ModelVersion.objects.filter(pk=stable.version_id).update(report={"abstention": HELD_OUT})
    for promised in (None, 0.8):
        with tenant_scope(ada.tenant.id):
            Deployment.objects.filter(pk=candidate.pk).update(precision=promised)
        refused = ada.api.post("/v1/rollouts", wanted)
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "not_comparable")
        assert "at least 0.9" in refused.json()["error"]["message"]
    with tenant_scope(ada.tenant.id):
        Deployment.objects.filter(pk=candidate.pk).update(precision=0.95)
    made = ada.api.post("/v1/rollouts", wanted)
    assert made.status_code == 200
    ada.api.post(f"/v1/rollouts/{made.json()['id']}/rollback")
    ada.api.delete(f"/v1/deployments/{stable.public_id}")
    unchanged = ada.api.post(f"/v1/deployments/{stable.public_id}", {"precision": None})
    assert unchanged.json()["precision"] == 0.9, "it has ended"
    with tenant_scope(ada.tenant.id):
        assert not AuditEvent.objects.filter(action="deployment.precision").exists()
    again = ada.browser.post(f"{ada.workspace}/deployments/{stable.public_id}/again")
    assert again.status_code == 302, again.content
    with tenant_scope(ada.tenant.id):
        row = Deployment.objects.select_related("dedicated").get(version_id=stable.version_id, state="loading")
        assert (row.precision, row.dedicated.replicas_max, row.dedicated.idle_seconds) == (0.9, 2, 77)


def test_a_canary_stands_on_one_of_its_steps(ada: Person) -> None:
    live(ada, ALIAS)
    candidate = live(ada)
    steps = [{"share": 5}, {"share": 50}]
    wanted = {"alias": ALIAS, "candidate": candidate.public_id, "mode": "canary", "share": 7, "steps": steps}
    refused = ada.api.post("/v1/rollouts", wanted)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "share")
    assert "5%, 50%" in refused.json()["error"]["message"]
    made = begun(ada, candidate, share=7)
    path = f"/v1/rollouts/{made['id']}"
    assert ada.api.post(path, {"steps": steps}).json()["error"]["param"] == "share"
    assert ada.api.post(path, {"steps": steps, "share": 50}).json()["share"] == 50
    ada.api.post(f"{path}/rollback")
    form = {"alias": ALIAS, "candidate": candidate.public_id, "mode": "canary", "climb": "on", "minutes": 5, "calls": 9}
    new = f"{ada.workspace}/rollouts/new"
    assert ada.browser.post(new, form | {"share": "0"}).status_code == 422
    assert ada.browser.post(new, form | {"share": "12.5"}).status_code == 302
    with tenant_scope(ada.tenant.id):
        row = Rollout.objects.get(state="running")
        assert (row.share, [step["share"] for step in row.steps]) == (1_250, [1_250, 2_500, 5_000, 10_000])


def test_shadow_calls_are_listed_only_where_they_are_asked_for(ada: Person) -> None:
    row = live(ada, ALIAS)
    called, shadow = logged(ada, row), logged(ada, row, arm="shadow")
    listed = ada.api.get("/v1/requests").json()["data"]
    assert [one["id"] for one in listed] == [called]
    assert [one["id"] for one in ada.api.get("/v1/requests?arm=shadow").json()["data"]] == [shadow]
    assert ada.api.get("/v1/requests/figures").json()["total"]["requests"] == 1


def test_of_two_versions_each_page_shows_the_name_that_gets_it(ada: Person) -> None:
    version = make_model(ada)
    first = live(ada, version=version)
    second = live(ada, version=make_model(ada, name=version.model.name))
    logged(ada, first)
    logged(ada, second, arm="shadow")
    pages = {one.pk: f"{ada.workspace}/deployments/{one.public_id}/" for one in (first, second)}

    def page(row: Deployment) -> str:
        return ada.browser.get(pages[row.pk]).content.decode()

    tried = f"{ada.workspace}/playground/?model={second.public_id}"
    assert "1 call in the last hour" in page(first) and "Nobody called it in the last hour." in page(second)
    assert "/v1/classify" in page(first)
    for text in (page(second), ada.browser.get(tried).content.decode()):
        assert "/v1/classify" not in text and "another version of the model answers" in text
    with tenant_scope(ada.tenant.id):
        alias_set(project=ada.project, alias=ALIAS, version=second.version)
    for text in (page(second), ada.browser.get(tried).content.decode()):
        assert "/v1/classify" in text and ALIAS in text
    assert ada.browser.post(f"{pages[second.pk]}stop").status_code == 302


def test_a_second_version_of_a_model_can_be_deployed_beside_the_first(ada: Person) -> None:
    first = make_model(ada)
    row = live(ada, version=first)
    answer = ada.api.post("/v1/deployments", {"model": first.model.name, "version": 1})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "already_deployed")
    missing = ada.api.post("/v1/deployments", {"model": first.model.name, "version": 7})
    assert (missing.status_code, missing.json()["error"]["param"]) == (404, "version")
    with tenant_scope(ada.tenant.id):
        assert parse_id("dep_", row.public_id) == row.pk
