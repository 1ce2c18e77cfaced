"""Models: listed, read, deleted and aliased, by their owners alone."""

import datetime as dt
import urllib.parse
from pathlib import Path

import pytest

from kit import storage
from kit.clock import now
from kit.errors import BadRequest, NotFound
from registry import selectors, services
from registry.models import Alias, Model, ModelVersion
from registry.services import alias_set, artefact_store, artefacts_sweep, model_serving_set, models_purge
from tenants.models import AuditEvent
from tenants.scope import tenant_scope
from tests.conftest import Cast, make_person
from tests.registry.folders import artefact
from tests.registry.making import make_model


def test_the_list_holds_the_bases_and_the_projects_own_models(cast: Cast) -> None:
    version = make_model(cast.owner)
    body = cast.teammate.api.get("/v1/models").json()
    assert body["object"] == "list"
    kinds = {entry["id"]: entry["x_kind"] for entry in body["data"]}
    assert kinds == {"all-MiniLM-L6-v2": "base", version.model.name: "tuned"}
    tuned = body["data"][-1]
    assert (tuned["x_state"], tuned["owned_by"], tuned["x_metrics"]["accuracy"]) == (
        "ready",
        cast.owner.tenant.slug,
        0.9,
    )
    assert [entry["id"] for entry in cast.stranger.api.get("/v1/models").json()["data"]] == ["all-MiniLM-L6-v2"]


@pytest.mark.parametrize("escape", [False, True])
def test_a_model_is_read_by_its_name_escaped_or_not(cast: Cast, escape: bool) -> None:
    name = make_model(cast.owner).model.name
    path = "/v1/models/" + (urllib.parse.quote(name, safe="") if escape else name)
    assert cast.owner.api.get(path).json()["id"] == name
    assert cast.stranger.api.get(path).status_code == 404


def test_a_base_is_read_but_nobody_deletes_it(cast: Cast) -> None:
    assert cast.owner.api.get("/v1/models/all-MiniLM-L6-v2").json()["x_tasks"] == ["text-classification"]
    assert cast.owner.api.delete("/v1/models/all-MiniLM-L6-v2").status_code == 403


@pytest.mark.parametrize("name", ["org/other", "ft:x", "a" * 3000, "%00", "triage@prod"])
def test_an_unknown_name_is_a_404_of_the_wire(cast: Cast, name: str) -> None:
    answer = cast.owner.api.get(f"/v1/models/{name}")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_found"


def test_a_deleted_model_is_gone_with_its_aliases_and_keeps_its_files_for_a_while(cast: Cast) -> None:
    version = make_model(cast.owner)
    with tenant_scope(cast.owner.tenant.id):
        alias_set(project=cast.owner.project, alias="triage@prod", version=version)
    keys = [f"{version.artefact_prefix}/{name}" for name in version.files]
    assert all(storage.exists(key) for key in keys)
    answer = cast.owner.api.delete(f"/v1/models/{version.model.name}")
    assert answer.json() == {"id": version.model.name, "object": "model", "deleted": True}
    assert cast.owner.api.get(f"/v1/models/{version.model.name}").status_code == 404
    assert cast.owner.api.delete(f"/v1/models/{version.model.name}").status_code == 404
    assert version.model.name not in str(cast.owner.api.get("/v1/models").json())
    assert all(storage.exists(key) for key in keys)
    with tenant_scope(cast.owner.tenant.id):
        assert not Alias.objects.exists()
        assert AuditEvent.objects.filter(action="model.deleted").count() == 1
        with pytest.raises(NotFound):
            alias_set(project=cast.owner.project, alias="triage@prod", version=version)


def test_a_deleted_model_comes_back_and_is_erased_after_thirty_days(cast: Cast) -> None:
    ada, version = cast.owner, make_model(cast.owner)
    keys = [f"{version.artefact_prefix}/{name}" for name in version.files]
    page = f"{ada.workspace}/models/{version.model.public_id}"
    assert ada.browser.post(f"{page}/restore").status_code == 302, "it is there: nothing to do"
    assert ada.browser.post(f"{page}/erase").status_code == 404, "only what was deleted is erased"
    said = ada.browser.post(f"{page}/delete", follow=True).content.decode()
    assert "was deleted." in said and f'action="{page}/restore"' in said and "1 deleted model can be" in said
    assert ada.browser.get(f"{page}/").status_code == 404 and ada.browser.post(f"{page}/delete").status_code == 404
    listed = ada.browser.get(f"{ada.workspace}/models/deleted").content.decode()
    assert f'action="{page}/erase"' in listed and "will be erased" in listed
    assert ada.browser.post(f"{page}/restore").status_code == 302
    assert ada.api.get(f"/v1/models/{version.model.name}").json()["x_state"] == "ready"
    for age, left in ((29, True), (31, False)):
        with tenant_scope(ada.tenant.id):
            Model.objects.filter(pk=version.model_id).update(deleted_at=now() - dt.timedelta(days=age))
        models_purge()
        assert [storage.exists(key) for key in keys] == [left] * len(keys)
    assert models_purge() == 0
    assert ada.browser.post(f"{page}/restore").status_code == 404
    with tenant_scope(ada.tenant.id):
        assert ModelVersion.objects.get(pk=version.pk).state == "deleted"
        assert AuditEvent.objects.filter(action="model.erased").count() == 1


def test_a_deleted_model_can_be_erased_at_once_and_then_never_comes_back(cast: Cast) -> None:
    ada, version = cast.owner, make_model(cast.owner)
    page = f"{ada.workspace}/models/{version.model.public_id}"
    ada.browser.post(f"{page}/delete")
    assert ada.browser.post(f"{page}/erase").status_code == 302
    assert not any(storage.exists(f"{version.artefact_prefix}/{name}") for name in version.files)
    assert (ada.browser.post(f"{page}/restore").status_code, ada.browser.post(f"{page}/erase").status_code) == (
        404,
        404,
    )
    assert "Nothing was deleted." in ada.browser.get(f"{ada.workspace}/models/deleted").content.decode()


def test_who_may_only_read_deletes_restores_and_erases_nothing(cast: Cast) -> None:
    viewer, version = make_person("viewer", beside=cast.owner, role="viewer"), make_model(cast.owner)
    page = f"{viewer.workspace}/models/{version.model.public_id}"
    for verb in ("delete", "restore", "erase"):
        assert viewer.browser.post(f"{page}/{verb}").status_code == 403
    assert viewer.browser.get(f"{viewer.workspace}/models/deleted").status_code == 200


def test_a_served_model_is_not_deleted(cast: Cast) -> None:
    version = make_model(cast.owner)
    with tenant_scope(cast.owner.tenant.id):
        model_serving_set(model=version.model, state="live")
    answer = cast.owner.api.delete(f"/v1/models/{version.model.name}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "model_in_use")
    assert answer["x-should-retry"] == "false"
    assert cast.owner.api.get(f"/v1/models/{version.model.name}").json()["x_state"] == "live"


def test_an_alias_moves_and_both_ends_are_audited(cast: Cast) -> None:
    first, second = make_model(cast.owner), make_model(cast.owner)
    with tenant_scope(cast.owner.tenant.id):
        alias_set(project=cast.owner.project, alias="triage@prod", version=first)
        assert selectors.model_version_by_name(cast.owner.project.id, "triage@prod") == first
        alias_set(project=cast.owner.project, alias="triage@prod", version=second)
        assert selectors.model_version_by_name(cast.owner.project.id, "triage@prod") == second
        moved = AuditEvent.objects.get(action="alias.moved")
        assert (moved.before, moved.after) == ({"version": first.public_id}, {"version": second.public_id})
        with pytest.raises(BadRequest):
            alias_set(project=cast.owner.project, alias="Not An Alias", version=first)
    with tenant_scope(cast.stranger.tenant.id), pytest.raises(NotFound):
        selectors.model_version_by_name(cast.stranger.project.id, "triage@prod")


def test_lineage_names_base_job_and_artefact(cast: Cast) -> None:
    version = make_model(cast.owner)
    with tenant_scope(cast.owner.tenant.id):
        line = selectors.lineage(version)
        folder = Path(selectors.artefact_place(version).source()["folder"])
        assert Model.objects.get(pk=version.model_id).base_sha256 == line["base_sha256"]
    assert line["job_id"] == version.job_id and len(line["artefact_sha256"]) == 64
    assert sorted(path.name for path in folder.iterdir()) == sorted(version.files)


def test_what_was_stored_and_never_published_is_removed_a_day_later(
    cast: Cast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, gone = make_model(cast.owner), make_model(cast.owner)
    lost = artefact_store(tenant_id=cast.owner.tenant.id, folder=artefact(tmp_path / "artefact"))
    with tenant_scope(cast.owner.tenant.id):
        ModelVersion.objects.filter(pk=gone.pk).update(state="deleted")  # and its files could not be, at the time
    assert artefacts_sweep() == 0
    monkeypatch.setattr(services, "UNPUBLISHED", dt.timedelta(seconds=-1))
    assert artefacts_sweep() >= 2
    assert not any(storage.exists(f"{lost.prefix}/{name}") for name in lost.sound.files)
    assert not any(storage.exists(f"{gone.artefact_prefix}/{name}") for name in gone.files)
    assert all(storage.exists(f"{kept.artefact_prefix}/{name}") for name in kept.files)
