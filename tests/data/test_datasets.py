"""Datasets over the API and for jobs: versions are checked, cut, written once, and never change."""

from typing import Any

import pyarrow.parquet as pq
import pytest
from django.db import InternalError, ProgrammingError, transaction
from django.db.utils import DatabaseError

from data import selectors
from data.errors import FileNotReady, InvalidColumns, InvalidFix
from data.models import DatasetVersion
from data.services import (
    dataset_create,
    file_map_columns,
    file_preview,
    file_process,
    version_create,
    version_for_job,
    version_write,
)
from data.services.datasets import Source
from kit import storage
from tenants.scope import tenant_scope
from tests.conftest import Cast, Person
from tests.data.making import checked_file, dataset, ready_dataset, sample, stored_file
from tests.data.test_files_api import problem

COPIES = b"\n".join(sample().split(b"\n")[1:3]) + b"\n"
DIRTY = sample() + b" padded text here ,refund\npadded text there,Refund\n" + COPIES


def build(person: Person, version_id: str) -> dict[str, Any]:
    """Write a version as the worker does and return its body."""
    with tenant_scope(person.tenant.id):
        version = selectors.version_get(person.project.id, version_id)
        home = version.dataset.public_id
    version_write(tenant_id=person.tenant.id, version_id=version.id)
    return dict(person.api.get(f"/v1/datasets/{home}/versions/{version_id}").json())


def test_a_file_becomes_a_dataset_then_a_fixed_version_with_lineage(cast: Cast) -> None:
    api = cast.owner.api
    file = checked_file(cast.owner, DIRTY)
    made = api.post("/v1/datasets", {"file_id": file.public_id, "name": "Support"}).json()
    assert (made["object"], made["name"], made["version"]["state"]) == ("dataset", "Support", "building")
    first = build(cast.owner, made["version"]["id"])
    assert first["state"] == "ready"
    assert first["labels"]["Refund"] == 1
    assert sum(first["splits"].values()) == first["rows"]
    fixes = [{"fix": "trim"}, {"fix": "drop_duplicates"}, {"fix": "merge_labels", "labels": {"Refund": "refund"}}]
    second = build(cast.owner, api.post(f"/v1/datasets/{made['id']}/versions", {"fixes": fixes}).json()["id"])
    assert (second["number"], second["parent_id"]) == (2, first["id"])
    assert second["files"] == [{"file_id": file.public_id, "sha256": file.sha256, "split": None}]
    assert "Refund" not in second["labels"]
    assert second["dropped"]["drop_duplicates"] >= 1
    assert second["content_sha256"] != first["content_sha256"]
    again = api.post(f"/v1/datasets/{made['id']}/versions", {"parent_id": first["id"], "fixes": fixes}).json()
    assert again["id"] == second["id"]
    listed = api.get(f"/v1/datasets/{made['id']}/versions").json()
    assert [version["number"] for version in listed["data"]] == [2, 1]
    assert api.get("/v1/datasets").json()["data"][0]["version"]["id"] == second["id"]
    assert api.delete(f"/v1/datasets/{made['id']}").json()["deleted"]
    problem(api.get(f"/v1/datasets/{made['id']}"), 404)


def test_rows_are_browsed_by_label_split_text_and_finding(cast: Cast) -> None:
    api = cast.owner.api
    file = checked_file(cast.owner, DIRTY)
    made = api.post("/v1/datasets", {"file_id": file.public_id}).json()
    version = build(cast.owner, made["version"]["id"])
    path = f"/v1/datasets/{made['id']}/versions/{version['id']}/rows"
    page = api.get(f"{path}?limit=10").json()
    assert [row["row_id"] for row in page["data"]] == list(range(1, 11))
    assert page["has_more"]
    assert api.get(f"{path}?limit=10&after={page['last_id']}").json()["data"][0]["row_id"] == 11
    assert {row["label"] for row in api.get(f"{path}?label=refund").json()["data"]} == {"refund"}
    assert {row["split"] for row in api.get(f"{path}?split=test").json()["data"]} == {"test"}
    assert [row["row_id"] for row in api.get(f"{path}?q=PADDED").json()["data"]] == [61, 62]
    assert [row["row_id"] for row in api.get(f"{path}?finding=outer_space").json()["data"]] == [61]
    for wrong in ("limit=0", "limit=9999", "after=-1", "after=x", "split=none"):
        problem(api.get(f"{path}?{wrong}"), 400)
    with tenant_scope(cast.owner.tenant.id):
        shown = selectors.file_rows(file, after=60, limit=1)
        assert (shown.rows[0]["line"], shown.rows[0]["text"], shown.next_after) == (62, " padded text here ", 61)


def test_a_ready_version_never_changes_whoever_asks(cast: Cast) -> None:
    _, version = ready_dataset(cast.owner)
    assert version.state == "ready"
    with pytest.raises((InternalError, ProgrammingError, DatabaseError)), tenant_scope(cast.owner.tenant.id):
        with transaction.atomic():
            DatasetVersion.objects.filter(pk=version.pk).update(rows=1)
    version_write(tenant_id=cast.owner.tenant.id, version_id=version.id)
    with tenant_scope(cast.owner.tenant.id), storage.local_path(version.storage_key) as path:
        assert pq.read_metadata(path).num_rows == version.rows


BLOCKED = {
    "ragged": (sample() + b"ragged\n", "ragged_rows", "drop_bad_rows"),
    "empty text": (sample() + b",refund\n", "empty_text", "drop_bad_rows"),
    "single class": (b"text,label\n" + b"".join(b"row number %d,same\n" % i for i in range(30)), "single_class", None),
    "one row per class": (b"text,label\n" + b"".join(b"row %d,l%d\n" % (i, i) for i in range(30)), "one_row", None),
}


@pytest.mark.parametrize("name", BLOCKED)
def test_blocking_findings_refuse_a_version_until_their_fix_is_applied(cast: Cast, name: str) -> None:
    content, code, fix = BLOCKED[name]
    file = checked_file(cast.owner, content)
    message = problem(cast.owner.api.post("/v1/datasets", {"file_id": file.public_id}), 422, "invalid_file")
    assert code in message
    assert cast.owner.api.get("/v1/datasets").json()["data"] == []
    if fix:
        made = cast.owner.api.post("/v1/datasets", {"file_id": file.public_id, "fixes": [{"fix": fix}]}).json()
        assert build(cast.owner, made["version"]["id"])["rows"] == 60


def test_wrong_requests_are_refused_with_the_place_of_the_fault(cast: Cast) -> None:
    api = cast.owner.api
    good = checked_file(cast.owner).public_id
    waiting = stored_file(cast.owner).public_id
    broken = checked_file(cast.owner, b"\x7fELF" + bytes(100)).public_id
    problem(api.post("/v1/datasets", {"file_id": waiting}), 409, "file_not_ready")
    problem(api.post("/v1/datasets", {"file_id": broken}), 422, "invalid_file")
    bare = checked_file(cast.owner, b"text,other\n" + b"".join(b"row %d,word%d x\n" % (i, i) for i in range(30)))
    message = problem(api.post("/v1/datasets", {"file_id": bare.public_id}), 400, "invalid_columns")
    assert "Choose the label column" in message and "text, other" in message
    foreign = checked_file(cast.stranger).public_id
    problem(api.post("/v1/datasets", {"file_id": foreign}), 404)
    for body, status in (
        ({}, 400),
        ({"file_id": good, "files": [{"file_id": good}]}, 400),
        ({"file_id": good, "colour": 1}, 400),
        ({"file_id": good, "seed": -1}, 400),
        ({"file_id": good, "seed": 1e400}, 400),
        ({"file_id": good, "split": {"validation": 0.5, "test": 0.5}}, 400),
        ({"file_id": good, "columns": {"label": "nope"}}, 400),
        ({"file_id": good, "columns": {"label": "text", "text": "text"}}, 400),
        ({"file_id": good, "fixes": [{"fix": "magic"}]}, 400),
        ({"files": [{"file_id": good}, {"file_id": good}]}, 400),
        ({"files": []}, 400),
    ):
        response = api.post("/v1/datasets", body) if 1e400 not in body.values() else api.request(
            "post", "/v1/datasets", f'{{"file_id": "{good}", "seed": 1e400}}'
        )  # fmt: skip
        problem(response, status)
    assert api.get("/v1/datasets").json()["data"] == []


def test_plain_files_of_a_job_become_one_version_however_often_it_is_asked(cast: Cast) -> None:
    training = checked_file(cast.owner)
    validation = checked_file(cast.owner, b"text,label\nvery few rows,refund\nbut fine,delivery\n", "v.csv")
    with tenant_scope(cast.owner.tenant.id):
        project = cast.owner.project.id
        one = version_for_job(project_id=project, training_file=training, validation_file=validation)
        two = version_for_job(project_id=project, training_file=training, validation_file=validation)
        assert one.pk == two.pk
        other = version_for_job(project_id=project, training_file=training)
        assert other.pk != one.pk
    version_write(tenant_id=cast.owner.tenant.id, version_id=one.id)
    with tenant_scope(cast.owner.tenant.id):
        ready = selectors.version_ready(selectors.version_get(project, one.public_id))
        assert ready.splits["validation"] == 2
        assert ready.splits["test"] > 0
        with pytest.raises(InvalidColumns):
            version_for_job(project_id=project, training_file=training, columns={"label": "nope"})
        with pytest.raises(FileNotReady):
            version_for_job(project_id=project, training_file=stored_file(cast.owner))


def test_a_preview_under_other_columns_changes_nothing(cast: Cast) -> None:
    content = b"text,label,team\n" + b"".join(b"some words number %d,x,%d\n" % (i, i % 2) for i in range(30))
    file = checked_file(cast.owner, content)
    with tenant_scope(cast.owner.tenant.id):
        problem(cast.owner.api.post("/v1/datasets", {"file_id": file.public_id}), 422, "invalid_file")
        seen = file_preview(file=file, mapping={"text": "text", "label": "team"})
        assert seen["levels"]["blocking"] == 0
        with pytest.raises(InvalidColumns):
            file_preview(file=file, mapping={"text": "nope"})
        file.refresh_from_db()
        assert file.roles["label"] == "label"
    body = {"file_id": file.public_id, "columns": {"text": "text", "label": "team"}}
    made = cast.owner.api.post("/v1/datasets", body).json()
    assert set(build(cast.owner, made["version"]["id"])["labels"]) == {"0", "1"}


def test_columns_chosen_by_hand_are_checked_again(cast: Cast) -> None:
    lines = sample().decode().splitlines()
    content = "\n".join([f"{lines[0]},team", *(f"{line},{'a' if i % 2 else 'b'}" for i, line in enumerate(lines[1:]))])
    file = checked_file(cast.owner, content.encode() + b"\n")
    with tenant_scope(cast.owner.tenant.id):
        file_map_columns(file=file, mapping={"label": "team"})
        with pytest.raises(FileNotReady):
            file_map_columns(file=file, mapping={})
    file_process(tenant_id=cast.owner.tenant.id, file_id=file.id)
    with tenant_scope(cast.owner.tenant.id):
        file.refresh_from_db()
        assert (file.status, file.roles["label"], file.profile["label_count"]) == ("processed", "team", 2)


def test_a_version_from_a_deleted_file_stays_but_cannot_be_made_again(cast: Cast) -> None:
    made, version = ready_dataset(cast.owner)
    file_id = cast.owner.api.get(f"/v1/datasets/{made.public_id}").json()["version"]["files"][0]["file_id"]
    assert cast.owner.api.delete(f"/v1/files/{file_id}").status_code == 200
    body = cast.owner.api.get(f"/v1/datasets/{made.public_id}/versions/{version.public_id}").json()
    assert body["state"] == "ready"
    problem(cast.owner.api.post(f"/v1/datasets/{made.public_id}/versions", {"seed": 3}), 400)


def test_a_file_being_read_for_a_version_cannot_be_deleted(cast: Cast) -> None:
    _, version = dataset(cast.owner)
    with tenant_scope(cast.owner.tenant.id):
        file_id = version.sources.select_related("file").get().file.public_id
    problem(cast.owner.api.delete(f"/v1/files/{file_id}"), 409, "file_in_use")
    assert cast.owner.api.get(f"/v1/files/{file_id}").status_code == 200


def test_what_cannot_be_written_fails_with_a_reason(cast: Cast) -> None:
    file = checked_file(cast.owner)
    with tenant_scope(cast.owner.tenant.id):
        version = dataset_create(
            project_id=cast.owner.project.id,
            name="one label",
            sources=[Source(file)],
            fixes=[{"fix": "merge_labels", "labels": {"delivery": "refund", "password": "refund"}}],
        )
    body = build(cast.owner, version.public_id)
    assert (body["state"], body["error"]["code"]) == ("failed", "single_class")
    with tenant_scope(cast.owner.tenant.id), pytest.raises(InvalidFix):
        version_create(dataset=version.dataset, columns={"text": "text", "label": "label"}, fixes=[{"fix": "nope"}])
