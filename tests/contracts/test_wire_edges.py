"""The wire's edges on every route: query fields, methods, types of bodies, and paths of other services."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conftest import Cast
from tests.console import things
from tests.isolation.policies import POLICIES
from tests.isolation.routes import fill, parameters

READABLE = sorted(route for route, policy in POLICIES.items() if policy.door == "api" and "GET" in policy.success)
KEYS = {"message", "type", "param", "code"}


def refused(answer: Any, status: int, param: str | None = None) -> str:
    """The message of a refusal in the wire's shape."""
    error = json.loads(answer.content)["error"]
    assert (answer.status_code, set(error), error["param"]) == (status, KEYS, param), answer.content
    return str(error["message"])


@pytest.mark.parametrize("route", READABLE)
def test_an_unknown_query_field_is_refused_by_name(route: str, cast: Cast) -> None:
    path = fill(route, dict.fromkeys(parameters(route), "file-x"))
    message = refused(cast.owner.api.get(f"{path}?zzz=1"), 400, "zzz")
    assert message.startswith("Unknown query field 'zzz'. This route reads ")


def test_a_query_field_that_stands_twice_is_refused_but_an_array_may(cast: Cast) -> None:
    api = cast.owner.api
    assert "2 times" in refused(api.get("/v1/files?limit=1&limit=2"), 400, "limit")
    assert api.get("/v1/organization/usage/classify?group_by=model&group_by[]=project_id").status_code == 200
    refused(api.get("/v1/files?limit[]=1"), 400, "limit[]")
    refused(api.get("/v1/files?metadata[a]=b"), 400, "metadata[a]")
    assert api.get("/v1/fine_tuning/jobs?metadata[a]=b&metadata[c]=d").status_code == 200


@pytest.mark.parametrize("field", ["user_ids[]=user_1", "api_sources=x"])
def test_a_filter_that_usage_cannot_apply_is_refused_and_not_ignored(field: str, cast: Cast) -> None:
    name = field.partition("=")[0]
    assert "api_key_ids" in refused(cast.owner.api.get(f"/v1/organization/usage/classify?{field}"), 400, name)


@pytest.mark.parametrize("text", ["1_000", "%D9%A1", "%205", "1e3", "0x10", ""])
def test_times_of_usage_are_plain_digits(text: str, cast: Cast) -> None:
    answer = cast.owner.api.get(f"/v1/organization/costs?start_time={text}")
    if text:
        refused(answer, 400, "start_time")
    else:
        assert answer.status_code == 200


@pytest.mark.parametrize("accept", ["text/html", "application/xml", "image/png", "nonsense"])
def test_whatever_is_accepted_the_answer_is_json(accept: str, cast: Cast) -> None:
    answer = cast.owner.api.get("/v1/models", Accept=accept)
    assert (answer.status_code, answer["Content-Type"]) == (200, "application/json")


def test_a_head_is_a_get_without_its_body(cast: Cast) -> None:
    api, file = cast.owner.api, things.made_file(cast.owner)
    for path in ("/v1/files", f"/v1/files/{file.public_id}", f"/v1/files/{file.public_id}/content"):
        answer = api.request("head", path)
        assert answer.status_code == 200 and answer["x-request-id"]
    assert api.request("head", "/v1/files/file-x").status_code == 404
    assert api.request("head", "/v1/uploads").status_code == 405
    assert cast.stranger.api.request("head", f"/v1/files/{file.public_id}").status_code == 404


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/v1/fine_tuning/checkpoints/x/permissions", "Checkpoints"),
        ("/v1/responses", "not offered. Models that write text are called with POST /v1/chat/completions"),
        ("/v1/chat/completions/chatcmpl-1", "not stored"),
        ("/v1/chat/completions/chatcmpl-1/messages", "not stored"),
        ("/v1/systemone", "POST /v1/decisions"),
        ("/v1/audio/speech", "speech"),
        ("/v1/organization/projects", "console"),
    ],
)
def test_what_other_services_have_is_refused_by_name(path: str, words: str, cast: Cast) -> None:
    for method in ("get", "post", "delete"):
        answer = cast.owner.api.request(method, path)
        assert words in refused(answer, 404)
        assert json.loads(answer.content)["error"]["code"] == "not_offered"


def test_a_line_break_in_a_path_is_answered_like_any_unknown_path(cast: Cast) -> None:
    refused(cast.owner.api.get("/v1/models/file-x%0a"), 404)
    refused(cast.owner.api.get("/v1/nothing%0a/here"), 404)


@pytest.mark.parametrize(
    ("raw", "words"),
    [(b"\x1f\x8b\x08\x00", "compressed"), (b"\xef\xbb\xbf{}", "byte order mark"), (b"\xff\xfe{\x00", "UTF-8")],
)
def test_bytes_that_are_no_json_are_named(raw: bytes, words: str, cast: Cast) -> None:
    assert words in refused(cast.owner.api.post("/v1/deployments", raw), 400)


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        ({"file_id": 5}, "file_id", "Must be a string"),
        ({"file_id": "f", "split": {"test": "0.1"}}, "split.test", "from 0 to 0.9"),
        ({"file_id": "f", "split": {"test": True}}, "split.test", "from 0 to 0.9"),
        ({"file_id": "f", "split": 5}, "split", "Must be an object"),
        ({"file_id": "f", "fixes": "x"}, "fixes", "Must be a list of 0 to 50"),
        ({"file_id": "f", "fixes": [5]}, "fixes[0]", "Must be an object"),
        ({"file_id": "f", "columns": {"text": 5}}, "columns.text", "Must be a string"),
        ({"files": [{"file_id": "f", "split": "zzz"}]}, "files[0].split", "train, validation or test"),
    ],
)
def test_a_field_of_another_type_is_refused_with_its_path(
    body: dict[str, Any], param: str, words: str, cast: Cast
) -> None:
    assert words in refused(cast.owner.api.post("/v1/datasets", body), 400, param)


@pytest.mark.parametrize("seconds", ["3600", 3600.0, True, 1, 10**30])
def test_the_life_of_an_upload_is_a_whole_number_in_range(seconds: Any, cast: Cast) -> None:
    body = {"filename": "a.csv", "purpose": "fine-tune", "bytes": 10, "mime_type": "text/csv"}
    answer = cast.owner.api.post("/v1/uploads", body | {"expires_after": {"anchor": "created_at", "seconds": seconds}})
    assert "3600 to 2592000" in refused(answer, 400, "expires_after.seconds")


def test_a_form_field_that_stands_twice_is_refused(cast: Cast) -> None:
    from django.core.files.uploadedfile import SimpleUploadedFile

    upload = SimpleUploadedFile("a.csv", b"text,label\na,b\n")
    answer = cast.owner.api.upload("/v1/files", {"purpose": ["evals", "fine-tune"], "file": upload})
    assert "twice" in refused(answer, 400, "purpose")
    assert json.loads(cast.owner.api.get("/v1/files").content)["data"] == []


def test_a_base_is_not_deleted_and_says_why(cast: Cast) -> None:
    message = refused(cast.owner.api.delete("/v1/models/all-MiniLM-L6-v2"), 403, "model")
    assert "base" in message and "cannot be deleted" in message
