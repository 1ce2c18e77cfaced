"""Rows behind an explanation: shown to their own project, while they are there."""

from __future__ import annotations

from uuid import UUID

import pytest

from data.selectors import version_rows
from data.services import dataset_create, dataset_delete, dataset_restore, version_create
from data.services.datasets import Source
from data.services.versions import version_write
from kit import storage
from kit.ids import new_id
from serving.training_rows import AWAY, GONE, LEFT_OUT, Shown, texts_shown, version_shown
from tenants.scope import tenant_scope
from tests.conftest import Cast, Person
from tests.data.making import checked_file, ready_dataset, sample

COPY = b"the very same text,refund\n"


def rows_shown(*, tenant_id: UUID, project_id: UUID, version_id: UUID | None, rows: list[int]) -> Shown:
    """What a page or an answer shows of some rows."""
    return texts_shown(version_shown(tenant_id=tenant_id, project_id=project_id, version_id=version_id), rows)


def test_texts_are_those_of_the_version(cast: Cast) -> None:
    ada = cast.owner
    _, version = ready_dataset(ada)
    expected = {row["row_id"]: row["text"] for row in version_rows(version, limit=200).rows}
    wanted = sorted(expected)[3:9]
    shown = rows_shown(tenant_id=ada.tenant.id, project_id=ada.project.id, version_id=version.id, rows=wanted)
    assert shown.texts == {row: expected[row] for row in wanted} and shown.missing is None


def test_a_deleted_dataset_shows_no_row_until_it_is_back(cast: Cast) -> None:
    ada = cast.owner
    made, version = ready_dataset(ada)
    who = {"tenant_id": ada.tenant.id, "project_id": ada.project.id, "version_id": version.id, "rows": [1, 2]}
    with tenant_scope(ada.tenant.id):
        dataset_delete(dataset=made)
    assert rows_shown(**who).texts == {} and rows_shown(**who).missing == GONE
    with tenant_scope(ada.tenant.id):
        dataset_restore(dataset=made)
    assert set(rows_shown(**who).texts) == {1, 2}


def test_strangers_and_other_projects_see_what_a_deleted_dataset_shows(cast: Cast) -> None:
    ada, eve = cast.owner, cast.stranger
    _, version = ready_dataset(ada)
    for person, project in ((eve, eve.project.id), (eve, ada.project.id), (ada, eve.project.id), (ada, new_id())):
        shown = rows_shown(tenant_id=person.tenant.id, project_id=project, version_id=version.id, rows=[1, 2])
        assert shown.texts == {} and shown.missing == GONE
    assert rows_shown(tenant_id=ada.tenant.id, project_id=ada.project.id, version_id=None, rows=[1]).texts == {}


def test_a_row_that_a_later_version_leaves_out_is_not_shown(cast: Cast) -> None:
    ada = cast.owner
    content = sample() + COPY * 3
    file = checked_file(ada, content)
    first = _written(ada, lambda: dataset_create(project_id=ada.project.id, name="S", sources=[Source(file)]))
    copies = [row["row_id"] for row in version_rows(first, limit=200).rows if row["text"] in COPY.decode()]
    assert len(copies) == 3, "the first version keeps them"
    who = {"tenant_id": ada.tenant.id, "project_id": ada.project.id, "version_id": first.id}
    assert set(rows_shown(**who, rows=[5, *copies]).texts) == {5, *copies}
    dataset = first.dataset
    _written(ada, lambda: version_create(dataset=dataset, fixes=[{"fix": "drop_duplicates"}]))
    shown = rows_shown(**who, rows=[5, *copies])
    assert set(shown.texts) == {5, copies[0]} and shown.missing == LEFT_OUT


def test_a_store_that_is_away_leaves_the_rows_without_their_text(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    ada = cast.owner
    _, version = ready_dataset(ada)

    def away(key: str) -> object:
        raise storage.StorageAway

    monkeypatch.setattr(storage, "seekable", away)
    shown = rows_shown(tenant_id=ada.tenant.id, project_id=ada.project.id, version_id=version.id, rows=[2, 1])
    assert shown.texts == {1: None, 2: None} and shown.missing == AWAY


def _written(person: Person, make):  # type: ignore[no-untyped-def]
    with tenant_scope(person.tenant.id):
        version = make()
    version_write(tenant_id=person.tenant.id, version_id=version.id)
    with tenant_scope(person.tenant.id):
        version.refresh_from_db()
        assert version.state == "ready", version.error
        return type(version).objects.select_related("dataset").get(pk=version.pk)
