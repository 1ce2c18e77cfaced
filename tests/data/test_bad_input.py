"""Input that cannot be meant gets a clear 4xx with the four keys, and changes nothing."""

from typing import Any

import pytest

from data.models import Dataset, Upload
from tenants.scope import tenant_scope
from tests.conftest import Cast, Person, make_person
from tests.data.making import checked_file, ready_dataset

KEYS = {"message", "type", "param", "code"}
GOOD_UPLOAD = {"filename": "a.csv", "purpose": "fine-tune", "bytes": 10, "mime_type": "text/csv"}


@pytest.fixture(scope="module")
def ada() -> Person:
    """One owner for the whole file."""
    return make_person("ada")


def count(person: Person, model: Any) -> int:
    """Rows of the person's tenant."""
    with tenant_scope(person.tenant.id):
        return int(model.objects.count())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("bytes", "3"),
        ("bytes", 3.0),
        ("bytes", True),
        ("bytes", -1),
        ("bytes", 10**39),
        ("filename", 3),
        ("filename", "a\nb.csv"),
        ("filename", ""),
        ("mime_type", 1.5),
        ("purpose", []),
        ("expires_after", {"anchor": "created_at", "seconds": "NaN"}),
        ("tenant_id", "x"),
    ],
)
def test_an_upload_with_a_field_of_the_wrong_kind_is_refused(ada: Person, field: str, value: Any) -> None:
    before = count(ada, Upload)
    answer = ada.api.post("/v1/uploads", GOOD_UPLOAD | {field: value})
    assert answer.status_code == 400 and set(answer.json()["error"]) == KEYS
    assert answer.json()["error"]["param"].startswith(field)
    assert count(ada, Upload) == before


@pytest.mark.parametrize(
    "extra",
    [
        {"name": 7},
        {"name": "a\tb"},
        {"seed": "3"},
        {"seed": -1},
        {"split": {"validation": "NaN"}},
        {"split": {"test": 1e300}},
        {"fixes": [{"fix": []}]},
        {"fixes": {}},
        {"columns": {"text": {}}},
        {"project_id": "x"},
    ],
)
def test_a_dataset_with_a_field_of_the_wrong_kind_is_refused(ada: Person, extra: dict[str, Any]) -> None:
    file = checked_file(ada)
    before = count(ada, Dataset)
    answer = ada.api.post("/v1/datasets", {"file_id": file.public_id, **extra})
    assert answer.status_code == 400 and set(answer.json()["error"]) == KEYS
    assert count(ada, Dataset) == before


def test_a_finding_no_code_can_name_finds_no_rows(ada: Person) -> None:
    made, version = ready_dataset(ada)
    answer = ada.api.get(f"/v1/datasets/{made.public_id}/versions/{version.public_id}/rows?finding=%00")
    assert answer.status_code == 200 and answer.json()["data"] == []


def test_a_form_of_thousands_of_fields_is_refused(cast: Cast) -> None:
    part = '--x\r\nContent-Disposition: form-data; name="f{}"\r\n\r\n1\r\n'
    body = "".join(part.format(n) for n in range(2000)) + "--x--\r\n"
    answer = cast.owner.browser.post(
        "/v1/files",
        data=body.encode(),
        content_type="multipart/form-data; boundary=x",
        headers={"Authorization": f"Bearer {cast.owner.key}"},
    )
    assert answer.status_code == 400 and set(answer.json()["error"]) == KEYS
