"""Deployments over the API and through their services."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from django.conf import settings
from django.db import connection, connections

from inference.client import BlockingClient
from inference.errors import NotResident
from kit.errors import ApiError
from registry.models import Alias, Model
from registry.services import model_delete
from serving import routes, services
from serving.models import Deployment
from tenants.scope import tenant_scope
from tests.conftest import Cast
from tests.inference.artefacts import make, record_parity
from tests.registry.making import make_model
from tests.serving.made import TEXTS, deployed, publish, trained
from tests.training.background import until

pytestmark = pytest.mark.slow  # starts real processes


def body(response: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(response.content)
    return found


def test_a_deployment_goes_from_wish_to_live_after_it_reproduced_training(cast: Cast, engine: None, tmp_path) -> None:
    version, _ = trained(cast.owner, tmp_path / "a", "lora")
    answer = cast.owner.api.post("/v1/deployments", {"model": version.model.name, "alias": "triage@prod"})
    assert answer.status_code == 200, answer.content
    made = body(answer)
    assert made["state"] == "loading"
    assert made["id"].startswith("dep_")
    row = services.selectors.parse_id("dep_", made["id"])
    assert services.deployment_load(tenant_id=cast.owner.tenant.id, deployment_id=row) == "live"
    found = body(cast.owner.api.get(f"/v1/deployments/{made['id']}"))
    assert found["state"] == "live"
    assert found["parity"]["passed"] is True
    assert found["parity"]["texts"] == len(TEXTS)
    assert [event["state"] for event in found["events"]] == ["loading", "live"]
    with tenant_scope(cast.owner.tenant.id):
        assert Alias.objects.get(name="triage", stage="prod").version_id == version.id
        assert Model.objects.get(pk=version.model_id).serving == "live"
    live = routes.routes_of(tenant_id=cast.owner.tenant.id, project_id=cast.owner.project.id)
    assert live["triage@prod"].model == live[version.model.name].model == version.model.name
    assert live["triage@prod"].max_length == 64
    assert "all-MiniLM-L6-v2" in live


def test_a_model_that_serving_does_not_reproduce_never_goes_live(cast: Cast, engine: None, tmp_path) -> None:
    made = make(tmp_path / "a", "head", seed=1)
    record_parity(made, TEXTS, np.eye(5)[[0, 1, 2, 3]])
    row = deployed(cast.owner, publish(cast.owner, made))
    assert row.state == "failed"
    assert "does not reproduce training" in row.reason
    found = routes.routes_of(tenant_id=cast.owner.tenant.id, project_id=cast.owner.project.id)
    assert not any(route.version for route in found.values())


def test_without_an_engine_a_deployment_waits_and_says_so(cast: Cast, tmp_path, settings: Any) -> None:
    version, _ = trained(cast.owner, tmp_path / "a")
    settings.ENGINE_ADDRESS = f"unix://{tmp_path}/nobody.sock"
    row = deployed(cast.owner, version)
    assert row.state == "loading"
    assert row.reason.startswith("Waiting for the engine")


def test_stopping_frees_the_engine_and_may_be_repeated(cast: Cast, engine: None, tmp_path) -> None:
    version, _ = trained(cast.owner, tmp_path / "a")
    row = deployed(cast.owner, version)
    path = f"/v1/deployments/{row.public_id}"
    for _ in range(2):
        answer = body(cast.owner.api.delete(path))
        assert answer == {"id": row.public_id, "object": "deployment", "deleted": True, "state": "stopped"}
    services.deployment_unload(tenant_id=cast.owner.tenant.id, version=version.id.hex)
    with BlockingClient(settings.ENGINE_ADDRESS, settings.ENGINE_TOKEN) as client:
        with pytest.raises(NotResident):
            client.describe(tenant=cast.owner.tenant.id.hex, model=version.id.hex)
    assert deployed(cast.owner, version).state == "live"


def test_a_second_deployment_of_the_same_model_is_a_conflict_not_worth_retrying(cast: Cast, tmp_path) -> None:
    version, _ = trained(cast.owner, tmp_path / "a")
    first = cast.owner.api.post("/v1/deployments", {"model": version.model.name})
    second = cast.owner.api.post("/v1/deployments", {"model": version.model.name})
    assert (first.status_code, second.status_code) == (200, 409)
    assert second["x-should-retry"] == "false"
    error = body(second)["error"]
    assert error["code"] == "already_deployed"
    assert body(first)["id"] in error["message"]


def test_a_deployment_is_given_an_alias_later_which_leaves_the_one_that_had_it(
    cast: Cast, engine: None, tmp_path
) -> None:
    owner = cast.owner
    old = deployed(owner, trained(owner, tmp_path / "a")[0], alias="triage@prod")
    version, _ = trained(owner, tmp_path / "b", seed=2)
    new = deployed(owner, version)
    again = owner.api.post("/v1/deployments", {"model": version.model.name, "alias": "triage@prod"})
    assert again.status_code == 409
    assert f'POST /v1/deployments/{new.public_id} with {{"alias": "triage@prod"}}' in body(again)["error"]["message"]
    path = f"/v1/deployments/{new.public_id}"
    assert body(owner.api.post(path, {"alias": "Triage"}))["error"]["param"] == "alias"
    assert body(owner.api.post(path, {"alias": "triage@prod"}))["alias"] == "triage@prod"
    assert body(owner.api.get(f"/v1/deployments/{old.public_id}"))["alias"] is None
    live = routes.routes_of(tenant_id=owner.tenant.id, project_id=owner.project.id)
    assert live["triage@prod"].model == version.model.name
    assert cast.stranger.api.post(path, {"alias": "mine@prod"}).status_code == 404
    owner.api.delete(path)
    ended = owner.api.post(path, {"alias": "triage@prod"})
    assert (ended.status_code, body(ended)["error"]["code"]) == (409, "not_live")


def test_a_model_that_is_deleted_at_this_moment_is_not_deployed(cast: Cast) -> None:
    version = make_model(cast.owner)

    def deploy() -> str:
        try:
            with tenant_scope(cast.owner.tenant.id):
                services.deployment_create(project=cast.owner.project, model=version.model.name)
            return "deployed"
        except ApiError as error:
            return type(error).__name__
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        with tenant_scope(cast.owner.tenant.id):
            model_delete(model=version.model)
            other = pool.submit(deploy)
            until(lambda: waits_for_a_lock() or other.done())
        assert other.result() == "NotDeployable"
    with tenant_scope(cast.owner.tenant.id):
        assert not Deployment.objects.exists()


def waits_for_a_lock() -> bool:
    """Whether any session does."""
    with connections["ops"].cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return bool(cursor.fetchone()[0])


def test_a_plan_has_room_for_so_many_deployments(cast: Cast) -> None:
    names = [make_model(cast.owner).model.name for _ in range(4)]
    answers = [cast.owner.api.post("/v1/deployments", {"model": name}) for name in names]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 409]
    error = body(answers[3])["error"]
    assert (error["code"], answers[3]["x-should-retry"]) == ("deployment_limit_exceeded", "false")
    assert "your plan allows 3. Stop one" in error["message"]
    again = body(cast.owner.api.post("/v1/deployments", {"model": names[0]}))["error"]
    assert again["code"] == "already_deployed", "that is the nearer reason"
    cast.owner.api.delete(f"/v1/deployments/{body(answers[0])['id']}")
    assert cast.owner.api.post("/v1/deployments", {"model": names[3]}).status_code == 200


def test_unknown_foreign_and_base_models_are_refused_clearly(cast: Cast, tmp_path) -> None:
    version, _ = trained(cast.owner, tmp_path / "a")
    answers = []
    for name in (version.model.name, "ft:all-MiniLM-L6-v2:nobody:x:12345678"):
        response = cast.stranger.api.post("/v1/deployments", {"model": name})
        assert response.status_code == 404
        answers.append(response.content.decode().replace(name, ""))
    assert answers[0] == answers[1]
    base = cast.owner.api.post("/v1/deployments", {"model": "all-MiniLM-L6-v2"})
    assert base.status_code == 400
    assert "is a base" in body(base)["error"]["message"]


def test_bad_bodies_are_refused_with_the_field(cast: Cast) -> None:
    for sent, param in (
        ({}, "model"),
        ({"model": "x", "colour": "red"}, "colour"),
        ({"model": 5}, "model"),
        ({"model": "x", "alias": "Not An Alias"}, "alias"),
    ):
        answer = cast.owner.api.post("/v1/deployments", sent)
        assert answer.status_code in (400, 404), answer.content
        if answer.status_code == 400:
            assert body(answer)["error"]["param"] == param


def test_the_list_shows_a_projects_own_deployments(cast: Cast, tmp_path) -> None:
    version, _ = trained(cast.owner, tmp_path / "a")
    made = body(cast.owner.api.post("/v1/deployments", {"model": version.model.name}))
    assert [one["id"] for one in body(cast.owner.api.get("/v1/deployments"))["data"]] == [made["id"]]
    assert body(cast.stranger.api.get("/v1/deployments"))["data"] == []
    with tenant_scope(cast.owner.tenant.id):
        assert Deployment.objects.count() == 1
