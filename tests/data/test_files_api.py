"""Files and uploads through the official client and plain HTTP: streaming in, checks, findings, clear refusals."""

import hashlib
import io
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from openai.resources.uploads.uploads import DEFAULT_PART_SIZE
from pytest_django.live_server_helper import LiveServer

from billing.models import TenantEntitlement
from billing.plans import plan_book
from data.lease import held
from data.models import File, Finding, Upload
from data.services import file_erase, file_process
from data.tasks import erase, sweep
from kit import storage
from kit.clock import now
from tenants.scope import tenant_scope
from tests.conftest import Cast, Person
from tests.data.making import checked_file, sample, stored_file


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    """The product's DRF views behind a real socket."""
    live = LiveServer("127.0.0.1")
    yield live
    live.stop()


def client(server: LiveServer, person: Person) -> openai.OpenAI:
    return openai.OpenAI(api_key=person.key, base_url=f"{server.url}/v1", max_retries=0)


def check(person: Person, public_id: str) -> None:
    """What the ingest worker does."""
    with tenant_scope(person.tenant.id):
        file = next(row for row in File.objects.all() if row.public_id == public_id)
    file_process(tenant_id=person.tenant.id, file_id=file.id)


def post_file(person: Person, content: bytes, name: str = "a.csv", **fields: Any) -> Any:
    form = {"file": SimpleUploadedFile(name, content), "purpose": "fine-tune", **fields}
    return person.api.upload("/v1/files", form)


def problem(response: Any, status: int, code: str | None = None) -> str:
    assert response.status_code == status, response.content
    body = response.json()["error"]
    assert set(body) == {"message", "type", "param", "code"}
    if code:
        assert body["code"] == code
    return str(body["message"])


def test_the_official_client_uploads_waits_reads_lists_and_deletes(server: LiveServer, cast: Cast) -> None:
    api = client(server, cast.owner)
    content = sample() + b",empty text\nonly one column\n"
    made = api.files.create(file=("support.csv", content), purpose="fine-tune")
    assert (made.object, made.bytes, made.filename, made.status) == ("file", len(content), "support.csv", "uploaded")
    check(cast.owner, made.id)
    done = api.files.wait_for_processing(made.id, poll_interval=0.1, max_wait_seconds=5)
    assert done.status == "processed"
    assert done.to_dict()["x_roles"] == {"text": "text", "label": "label"}
    assert done.to_dict()["x_findings"]["blocking"] == 2
    assert done.to_dict()["x_profile"]["usable_rows"] == 60
    assert done.status_details == "1 row has no text. Fill the text in, or drop these rows. (and 1 more)"
    assert api.files.content(made.id).read() == content
    assert made.id in [file.id for file in api.files.list(purpose="fine-tune")]
    assert api.files.delete(made.id).deleted
    with pytest.raises(openai.NotFoundError):
        api.files.retrieve(made.id)


def test_lists_page_with_cursors(server: LiveServer, cast: Cast) -> None:
    api = client(server, cast.owner)
    ids = [stored_file(cast.owner, name=f"{i}.csv").public_id for i in range(5)]
    assert [file.id for file in api.files.list(limit=2, order="asc")] == ids
    assert [file.id for file in api.files.list(limit=2)] == ids[::-1]
    with pytest.raises(openai.BadRequestError):
        api.files.list(after="file-nope")


def test_findings_come_in_words_with_rows_and_pages(cast: Cast) -> None:
    file = checked_file(cast.owner, sample() + b",refund\nno label,\nragged\n")
    first = cast.owner.api.get(f"/v1/files/{file.public_id}/findings?limit=2").json()
    assert [found["code"] for found in first["data"]] == ["empty_label", "empty_text"]
    assert first["data"][0]["rows"] == [62]
    assert first["data"][0]["message"] == "1 row has no label."
    assert first["data"][0]["fix"] == "drop_bad_rows"
    assert first["has_more"]
    rest = cast.owner.api.get(f"/v1/files/{file.public_id}/findings?after={first['last_id']}").json()
    assert rest["data"][0]["code"] == "ragged_rows"
    assert rest["data"][0]["samples"][0] == {"row": 63, "line": 64, "snippet": "ragged"}
    only = cast.owner.api.get(f"/v1/files/{file.public_id}/findings?level=note").json()
    assert all(found["level"] == "note" for found in only["data"])
    problem(cast.owner.api.get(f"/v1/files/{file.public_id}/findings?level=bad"), 400)
    problem(cast.owner.api.get(f"/v1/files/{file.public_id}/findings?after=finding_x"), 400)


UNREADABLE = {
    "binary": (b"\x7fELF" + bytes(500), "binary_file"),
    "html": (b"<html><body>login</body></html>", "binary_file"),
    "latin": ("text,label\nGrüße,a\n".encode("latin-1"), "encoding"),
    "header only": (b"text,label\n", "no_rows"),
    "long line": (b"text,label\n" + b"x" * (3 << 20), "line_too_long"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_file_that_cannot_be_read_ends_in_error_with_the_reason(cast: Cast, name: str) -> None:
    content, code = UNREADABLE[name]
    made = post_file(cast.owner, content).json()
    check(cast.owner, made["id"])
    body = cast.owner.api.get(f"/v1/files/{made['id']}").json()
    assert body["status"] == "error"
    assert body["status_details"]
    found = cast.owner.api.get(f"/v1/files/{made['id']}/findings").json()["data"]
    assert code in [finding["code"] for finding in found]


def test_checking_twice_or_after_deletion_changes_nothing(cast: Cast) -> None:
    file = stored_file(cast.owner, sample() + b",x\n")
    for _ in range(2):
        file_process(tenant_id=cast.owner.tenant.id, file_id=file.id)
    with tenant_scope(cast.owner.tenant.id):
        assert Finding.objects.filter(file=file, code="empty_text").count() == 1
        file.refresh_from_db()
        assert (file.status, file.attempts, file.rows) == ("processed", 1, 61)
    other = stored_file(cast.owner)
    cast.owner.api.delete(f"/v1/files/{other.public_id}")
    file_process(tenant_id=cast.owner.tenant.id, file_id=other.id)
    with tenant_scope(cast.owner.tenant.id):
        other.refresh_from_db()
        assert other.status == "uploaded"


def test_refusals_are_clear_and_leave_nothing(cast: Cast) -> None:
    person = cast.owner
    problem(post_file(person, b"", "a.csv"), 400, "empty_file")
    assert "fine-tune, evals or batch" in problem(post_file(person, sample(), purpose="assistants"), 400)
    assert "Unknown field" in problem(post_file(person, sample(), tenant_id="x"), 400)
    problem(person.api.upload("/v1/files", {"purpose": "fine-tune"}), 400)
    problem(person.api.upload("/v1/files", {"file": SimpleUploadedFile("a.csv", b"text,label\na,b\n")}), 400)
    problem(person.api.post("/v1/files", {"purpose": "fine-tune"}), 415)
    problem(post_file(person, sample(), **{"expires_after[anchor]": "created_at", "expires_after[seconds]": "5"}), 400)
    problem(post_file(person, sample(), **{"expires_after[seconds]": "NaN", "expires_after[anchor]": "now"}), 400)
    problem(person.api.get("/v1/files?purpose=vision"), 400)
    problem(person.api.get("/v1/files?limit=100000"), 400)
    problem(person.api.get("/v1/files/file-nope"), 404)
    assert person.api.get("/v1/files").json()["data"] == []


def test_a_file_over_the_plan_is_refused_while_it_streams(cast: Cast) -> None:
    with tenant_scope(cast.owner.tenant.id):
        plan = plan_book().latest("free")
        limits = {**{name: getattr(plan.limits, name) for name in plan.limits.__slots__}, "file_bytes": 100_000}
        TenantEntitlement.objects.update_or_create(
            tenant_id=cast.owner.tenant.id,
            defaults={
                "plan": "free", "plan_version": 1, "standing": "good", "limits": limits, "features": [],
                "allowance": {"usage_nano": 0},
            },
        )  # fmt: skip
    assert "100,000 bytes" in problem(post_file(cast.owner, b"text,label\n" + b"x" * 200_000), 413, "file_too_large")
    assert post_file(cast.owner, sample()).status_code == 200
    body = {"filename": "b.csv", "purpose": "fine-tune", "bytes": 200_000, "mime_type": "text/csv"}
    problem(cast.owner.api.post("/v1/uploads", body), 413, "file_too_large")


def test_names_are_cleaned_and_expiry_is_kept(cast: Cast) -> None:
    fields = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
    made = post_file(cast.owner, sample(), "../../etc/\u202epass\x07wd.csv", **fields).json()
    assert made["filename"] == "passwd.csv"
    assert made["expires_at"] - made["created_at"] == 3600


def test_a_repeated_create_with_an_idempotency_key_gives_the_same_file(cast: Cast) -> None:
    headers = {"Authorization": f"Bearer {cast.owner.key}", "Idempotency-Key": "once"}
    answers = [
        cast.owner.api.client.post(
            "/v1/files", {"file": SimpleUploadedFile("a.csv", sample()), "purpose": "fine-tune"}, headers=headers
        ).json()
        for _ in range(2)
    ]
    assert answers[0]["id"] == answers[1]["id"]
    assert len(cast.owner.api.get("/v1/files").json()["data"]) == 1


def test_bytes_go_when_a_file_is_erased_and_foreign_keys_of_storage_are_left_alone(cast: Cast) -> None:
    file = stored_file(cast.owner)
    erase(str(cast.owner.tenant.id), file.storage_key)
    assert storage.exists(file.storage_key)
    cast.owner.api.delete(f"/v1/files/{file.public_id}")
    erase(str(cast.owner.tenant.id), file.storage_key)
    assert storage.exists(file.storage_key)
    with tenant_scope(cast.owner.tenant.id):
        file_erase(file=file)
    erase(str(cast.stranger.tenant.id), file.storage_key)
    assert storage.exists(file.storage_key)
    erase(str(cast.owner.tenant.id), file.storage_key)
    assert not storage.exists(file.storage_key)


def test_an_upload_in_parts_becomes_a_file(server: LiveServer, cast: Cast) -> None:
    api = client(server, cast.owner)
    content = sample(400)
    upload = api.uploads.create(filename="big.csv", purpose="fine-tune", bytes=len(content), mime_type="text/csv")
    assert (upload.status, upload.expires_at - upload.created_at) == ("pending", 3600)
    late = api.uploads.parts.create(upload.id, data=content[5000:])
    early = api.uploads.parts.create(upload.id, data=content[:5000])
    with pytest.raises(openai.BadRequestError, match="MD5"):
        api.uploads.complete(upload.id, part_ids=[early.id, late.id], md5="0" * 32)
    done = api.uploads.complete(
        upload.id, part_ids=[early.id, late.id], md5=hashlib.md5(content, usedforsecurity=False).hexdigest()
    )
    assert done.status == "completed"
    assert done.file is not None
    assert api.files.content(done.file.id).read() == content
    with pytest.raises(openai.ConflictError):
        api.uploads.complete(upload.id, part_ids=[early.id, late.id])


def test_the_clients_chunked_upload_works(server: LiveServer, cast: Cast) -> None:
    content = sample(500)
    api = client(server, cast.owner)
    done = api.uploads.upload_file_chunked(
        file=content, filename="c.csv", bytes=len(content), mime_type="text/csv", purpose="fine-tune", part_size=4096
    )
    assert done.file is not None
    assert done.file.bytes == len(content)


def test_a_part_may_be_as_large_as_the_client_makes_them_and_no_larger(server: LiveServer, cast: Cast) -> None:
    content = b"x" * (DEFAULT_PART_SIZE + 1)
    done = client(server, cast.owner).uploads.upload_file_chunked(
        file=content, filename="c.csv", bytes=len(content), mime_type="text/csv", purpose="fine-tune"
    )
    assert done.file is not None and done.file.bytes == len(content)
    api, body = cast.owner.api, {"filename": "a.csv", "purpose": "fine-tune", "bytes": 10, "mime_type": "text/csv"}
    upload = api.post("/v1/uploads", body).json()["id"]
    answer = api.upload(f"/v1/uploads/{upload}/parts", {"data": io.BytesIO(content)})
    assert "Send the upload in smaller parts." in problem(answer, 413, "file_too_large")
    assert answer.json()["error"]["param"] == "data"


def test_uploads_that_do_not_add_up_are_refused(cast: Cast) -> None:
    api = cast.owner.api
    body = {"filename": "a.csv", "purpose": "fine-tune", "bytes": 10, "mime_type": "text/csv"}
    for wrong in ({**body, "bytes": -1}, {**body, "bytes": 1e308}, {**body, "extra": 1}, {**body, "purpose": "x"}, {}):
        problem(api.post("/v1/uploads", wrong), 400)
    problem(api.post("/v1/uploads", {**body, "bytes": 9_000_000_000}), 413)
    upload = api.post("/v1/uploads", body).json()["id"]
    part = api.upload(f"/v1/uploads/{upload}/parts", {"data": io.BytesIO(b"12345")}).json()["id"]
    problem(api.post(f"/v1/uploads/{upload}/complete", {"part_ids": [part]}), 400, "upload_mismatch")
    problem(api.post(f"/v1/uploads/{upload}/complete", {"part_ids": [part, part]}), 400, "upload_mismatch")
    problem(api.post(f"/v1/uploads/{upload}/complete", {"part_ids": ["part_nope"]}), 404)
    problem(api.post(f"/v1/uploads/{upload}/complete", {"part_ids": []}), 400)
    problem(api.upload(f"/v1/uploads/{upload}/parts", {"data": io.BytesIO(b"")}), 413)
    assert api.post(f"/v1/uploads/{upload}/cancel").json()["status"] == "cancelled"
    problem(api.post(f"/v1/uploads/{upload}/cancel"), 409, "upload_closed")
    problem(api.upload(f"/v1/uploads/{upload}/parts", {"data": io.BytesIO(b"1")}), 409, "upload_closed")


def test_the_sweep_closes_old_uploads_and_forgets_expired_files(cast: Cast) -> None:
    body = {"filename": "a.csv", "purpose": "fine-tune", "bytes": 10, "mime_type": "text/csv"}
    upload = cast.owner.api.post("/v1/uploads", body).json()["id"]
    file = stored_file(cast.owner)
    with tenant_scope(cast.owner.tenant.id):
        Upload.objects.all().update(expires_at=now())
        File.objects.filter(pk=file.pk).update(expires_at=now())
    problem(cast.owner.api.upload(f"/v1/uploads/{upload}/parts", {"data": io.BytesIO(b"1")}), 409, "upload_closed")
    assert sweep() >= 2
    with tenant_scope(cast.owner.tenant.id):
        assert Upload.objects.get().status == "expired"
    assert cast.owner.api.get("/v1/files").json()["data"] == []


def test_a_viewers_key_may_not_upload(cast: Cast) -> None:
    from tenants.services.keys import key_create

    with tenant_scope(cast.owner.tenant.id):
        _, key = key_create(
            project=cast.owner.project, name="read only", created_by=cast.owner.user, scopes=["files.read"]
        )
    reader = type(cast.owner.api)(key)
    problem(reader.upload("/v1/files", {"file": SimpleUploadedFile("a.csv", sample()), "purpose": "fine-tune"}), 403)
    assert reader.get("/v1/files").status_code == 200


def test_one_file_is_read_by_one_worker_at_a_time(cast: Cast) -> None:
    file = stored_file(cast.owner)
    with held(f"file:{file.id}") as free:
        assert free
        file_process(tenant_id=cast.owner.tenant.id, file_id=file.id)
        with tenant_scope(cast.owner.tenant.id):
            file.refresh_from_db()
            assert (file.status, file.attempts) == ("uploaded", 0)
    file_process(tenant_id=cast.owner.tenant.id, file_id=file.id)
    with tenant_scope(cast.owner.tenant.id):
        file.refresh_from_db()
        assert file.status == "processed"
