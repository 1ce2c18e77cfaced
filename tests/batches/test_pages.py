"""Batches in the console: empty, made from an uploaded file, watched, read, cancelled."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest

from batches.models import Batch
from data.models import File
from data.services import file_delete
from tenants.scope import tenant_scope
from tests.conftest import Person, make_person
from tests.isolation.batches import a_batch


@pytest.fixture
def ada() -> Person:
    return make_person("ada")


def page(person: Person, tail: str, status: int = 200) -> str:
    answer = person.browser.get(f"{person.workspace}/batches/{tail}")
    assert answer.status_code == status, answer.content
    return str(answer.content.decode())


def upload(content: bytes, name: str = "calls.jsonl") -> io.BytesIO:
    stream = io.BytesIO(content)
    stream.name = name
    return stream


def test_who_has_none_is_told_what_one_is(ada: Person) -> None:
    shown = page(ada, "")
    assert "No batches yet." in shown and "half the price" in shown
    assert shown.count("New batch") == 1, "one way to make the first"
    assert "Drop a JSONL file of calls" in page(ada, "new")


@pytest.mark.parametrize(
    ("line", "chosen"),
    [
        (b'{"custom_id": "a", "method": "POST", "url": "/v1/embeddings", "body": {}}\n', "/v1/embeddings"),
        (b'{"url": "/v1/images"}\n', ""),
        (b'{"url": ["/v1/embeddings"]}\n', ""),
        (b"[" * 60_000 + b"\n", ""),
        (b"\xff\n", ""),
    ],
)
def test_the_form_names_the_path_that_the_file_calls(ada: Person, line: bytes, chosen: str) -> None:
    answer = ada.browser.post(f"{ada.workspace}/batches/upload", {"file": upload(line)}, follow=True)
    found = re.findall(r'<option value="(/v1/[^"]+)" selected', answer.content.decode())
    assert found == ([chosen] if chosen else [])


def test_an_upload_leads_to_the_form_and_the_form_to_the_batch(ada: Person) -> None:
    answer = ada.browser.post(f"{ada.workspace}/batches/upload", {"file": upload(b'{"custom_id": "a"}\n')})
    assert answer.status_code == 302, answer.content
    with tenant_scope(ada.tenant.id):
        file = File.objects.get()
    assert (file.purpose, file.status) == ("batch", "processed")
    assert answer["Location"].endswith(f"/batches/new?file={file.public_id}")
    assert "calls.jsonl" in page(ada, f"new?file={file.public_id}")
    wanted = {"file": file.public_id, "endpoint": "/v1/classify"}
    refused = ada.browser.post(f"{ada.workspace}/batches/new", wanted | {"endpoint": "/v1/images"})
    assert refused.status_code == 422
    made = ada.browser.post(f"{ada.workspace}/batches/new", wanted)
    with tenant_scope(ada.tenant.id):
        batch = Batch.objects.get()
    assert made["Location"].endswith(f"/batches/{batch.public_id}/")
    assert batch.key_id is None and batch.user_id == ada.user.pk and batch.created_by == ada.user.email
    assert "Checking lines" in page(ada, f"{batch.public_id}/")
    assert ada.browser.get(f"{ada.workspace}/files/{file.public_id}/").status_code == 302, "it has no findings to show"


def test_a_running_batch_shows_how_far_it_is_and_why_it_waits(ada: Person) -> None:
    batch = a_batch(
        ada, state="in_progress", total=1200, completed=600, failed=12, cost_nano=1_230_000, waits_for="spend_limit",
        codes={"context_length_exceeded": 10, "model_not_found": 2},
    )  # fmt: skip
    shown = page(ada, f"{batch.public_id}/")
    assert "612 of 1,200 lines" in shown and "A spend limit is reached" in shown
    assert "context_length_exceeded" in shown and "Cancel batch" in shown
    assert "51" in page(ada, "") and "A spend limit is reached" in page(ada, "")
    answer = ada.browser.post(f"{ada.workspace}/batches/{batch.public_id}/cancel")
    assert answer.status_code == 302
    with tenant_scope(ada.tenant.id):
        batch.refresh_from_db()
    assert batch.state == "cancelling" and "Cancel batch" not in page(ada, f"{batch.public_id}/")


def test_a_file_with_problems_shows_them_by_line(ada: Person) -> None:
    wrong: list[dict[str, Any]] = [
        {"code": "invalid_method", "line": number, "message": "'method' must be \"POST\".", "param": "method"}
        for number in range(1, 111)
    ]
    batch = a_batch(ada, state="failed", errors=wrong)
    shown = page(ada, f"{batch.public_id}/")
    assert "nothing is charged" in shown and shown.count("<code>invalid_method</code>") == 100
    assert f"10 more. GET /v1/batches/{batch.public_id} lists them." in shown
    assert "New batch" in shown and "New batch of this file" not in shown, "it would fail again"


def test_its_files_can_be_taken_along_until_they_are_deleted(ada: Person) -> None:
    batch = a_batch(ada)
    address = f"{ada.workspace}/batches/{batch.public_id}/input.jsonl"
    answer = ada.browser.get(address)
    assert answer.status_code == 200 and b"custom_id" in b"".join(answer.streaming_content)
    assert ada.browser.get(address.replace("input", "output")).status_code == 404
    assert ada.browser.get(address.replace("input", "other")).status_code == 404
    with tenant_scope(ada.tenant.id):
        file_delete(file=batch.input_file)
    assert ada.browser.get(address).status_code == 404
    assert "was deleted" in page(ada, f"{batch.public_id}/")


def test_a_viewer_looks_and_makes_nothing(ada: Person) -> None:
    batch = a_batch(ada)
    viewer = make_person("vic", beside=ada, role="viewer")
    shown = page(viewer, f"{batch.public_id}/")
    assert "Cancel batch" not in shown and "New batch" not in page(viewer, "")
    for tail in ("new", "upload"):
        page(viewer, tail, 403)
    assert viewer.browser.post(f"{viewer.workspace}/batches/{batch.public_id}/cancel").status_code == 403


def test_search_finds_a_batch_and_pricing_names_its_price(ada: Person) -> None:
    batch = a_batch(ada)
    found = ada.browser.get(f"/search?q={batch.public_id}&in={ada.tenant.slug}/{ada.project.slug}").content.decode()
    assert f"/batches/{batch.public_id}/" in found
    assert "50%" in ada.browser.get("/pricing").content.decode()


def test_the_usage_page_shows_the_share_of_batches(ada: Person) -> None:
    from billing.prices import Usage
    from billing.services.metering import usage_record, usage_rollup

    with tenant_scope(ada.tenant.id):
        for number, kind in enumerate(("classify", "batch_classify", "batch_classify")):
            usage_record(
                request_id=f"req_{number}", usage=Usage(kind, "m", input_tokens=1000), project_id=ada.project.pk,
                key_id=None,
            )  # fmt: skip
    usage_rollup(tenant_id=ada.tenant.id)
    shown = ada.browser.get(f"{ada.home}/usage/").content.decode()
    assert "In batches" in shown
    by_key = ada.browser.get(f"{ada.home}/usage/?by=key").content.decode()
    assert "Batches from the console" in by_key and "Playground" in by_key
