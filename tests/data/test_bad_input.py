"""Input that cannot be meant gets a clear 4xx with the four keys, and changes nothing."""

import json
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from data import selectors
from data.models import Dataset, Upload
from data.services import file_process
from tenants.scope import tenant_scope
from tests.conftest import Cast, Person, make_person
from tests.data.making import checked_file, ready_dataset, sample, stored_file

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


CSV = sample()
ONE_LABEL = b"text,label\n" + b"".join(b"words here %d,same\n" % (i * 7919) for i in range(40))
ALL_LABELS = b"text,label\n" + b"".join(b"words here %d,l%d\n" % (i * 7919, i) for i in range(40))
NO_LABEL = b"text,other\n" + b"".join(b"words here %d,long words %d apart\n" % (i * 7919, i * 13) for i in range(40))
BAD_FILES: dict[str, tuple[bytes, str, str]] = {
    "blank": (b"\n \n", "error", "at least one row"),
    "binary": (b"\x7fELF" + bytes(200), "error", "Export the data as CSV"),
    "picture": (b"\x89PNG\r\n\x1a\n" + bytes(200), "error", "a PNG image"),
    "UTF-32": (CSV.decode().encode("utf-32"), "error", "Save the file as UTF-8"),
    "Latin-1": (CSV.replace(b"lamp", b"l\xe4mp"), "error", "Save the file as UTF-8"),
    "one long line": (b"text,label\n" + b"word " * 300_000, "error", "rows are separated by line ends"),
    "ragged": (CSV + b"one,two,three\n", "processed", "or drop these rows"),
    "single class": (ONE_LABEL, "processed", "at least two labels"),
    "one row per class": (ALL_LABELS, "processed", "Is this the label column?"),
    "label column missing": (NO_LABEL, "processed", "Choose the label column"),
    "nothing readable": (b'{"text": NaN, "label": "a"}\n' * 12, "processed", "drop these lines"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_file_nobody_can_train_on_says_so_and_what_to_do_at_every_door(ada: Person, name: str) -> None:
    content, status, words = BAD_FILES[name]
    form = {"file": SimpleUploadedFile("a.csv", content), "purpose": "fine-tune"}
    made = ada.api.upload("/v1/files", form).json()
    with tenant_scope(ada.tenant.id):
        file = selectors.file_get(ada.project.id, made["id"])
    file_process(tenant_id=ada.tenant.id, file_id=file.pk)
    read = ada.api.get(f"/v1/files/{made['id']}").json()
    assert read["status"] == status and words in read["status_details"]
    datasets, jobs = count(ada, Dataset), len(ada.api.get("/v1/fine_tuning/jobs").json()["data"])
    refused = ada.api.post("/v1/datasets", {"file_id": made["id"]})
    assert refused.status_code in (400, 422) and set(refused.json()["error"]) == KEYS
    assert words in refused.json()["error"]["message"]
    job = ada.api.post("/v1/fine_tuning/jobs", {"model": "all-MiniLM-L6-v2", "training_file": made["id"]})
    assert job.status_code == 400 and words in job.json()["error"]["message"]
    assert count(ada, Dataset) == datasets
    assert len(ada.api.get("/v1/fine_tuning/jobs").json()["data"]) == jobs


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-8-sig"])
def test_text_in_another_unicode_form_is_read_like_the_rest(ada: Person, encoding: str) -> None:
    file = checked_file(ada, CSV.decode().encode(encoding))
    read = ada.api.get(f"/v1/files/{file.public_id}").json()
    assert (read["status"], read["x_rows"], read["x_findings"]["blocking"]) == ("processed", 60, 0)


def test_texts_over_the_length_are_counted_and_named_and_nothing_is_cut(ada: Person) -> None:
    file = stored_file(ada, CSV + b"".join(b"word " * 600 + b"%d,refund\n" % i for i in range(3)))
    file_process(tenant_id=ada.tenant.id, file_id=file.pk)
    found = ada.api.get(f"/v1/files/{file.public_id}/findings?level=warning").json()["data"]
    long = next(finding for finding in found if finding["code"] == "text_too_long")
    assert (long["count"], long["rows"]) == (3, [61, 62, 63]) and "256 tokens" in long["message"]
    rows = ada.api.get(f"/v1/files/{file.public_id}/findings/rows?code=text_too_long")
    lines = [json.loads(line) for line in b"".join(rows.streaming_content).splitlines()]
    assert len(lines) == 3 and all(len(line["content"]) > 3000 for line in lines)


def test_a_dataset_created_twice_under_one_key_is_one_dataset(ada: Person) -> None:
    body, before = {"file_id": checked_file(ada).public_id}, count(ada, Dataset)
    first = ada.api.post("/v1/datasets", body, Idempotency_Key="once").json()
    again = ada.api.post("/v1/datasets", body, Idempotency_Key="once")
    assert again.json()["id"] == first["id"] and again["Idempotent-Replayed"] == "true"
    other = ada.api.post("/v1/datasets", {**body, "seed": 3}, Idempotency_Key="once")
    assert other.status_code == 422 and other.json()["error"]["code"] == "idempotency_mismatch"
    retried = ada.api.post("/v1/datasets", {**body, "name": "r"}).json()
    same = ada.api.post("/v1/datasets", {**body, "name": "r"}, X_Stainless_Retry_Count="1").json()
    assert same["id"] == retried["id"] and count(ada, Dataset) == before + 2
