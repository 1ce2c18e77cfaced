"""The API reference is whole and true: every route, field and parameter has its words, and answers are as it says."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from billing.services.metering import usage_rollup
from gateway.app import HANDLERS
from kit.clock import now
from tests.billing.money import call, store_events
from tests.conftest import Cast, Person, make_person
from tests.console import things
from tests.contracts.conformance import answer_schema, body_schema, differences, document, followed
from tests.evaluation.test_report import _report, _rows
from tests.isolation.policies import POLICIES
from tests.isolation.routes import fill
from tests.isolation.test_matrix import ask

USAGE = re.compile(r"/v1/organization/usage/\w+")
BYTES = ("content", "rows", "/stream", "/csv")
"""Last parts of paths whose answers are files."""


def template(route: str) -> str:
    """A route of the URLconf as a path of the document."""
    path = "/" + re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", route)
    return "/v1/organization/usage/{kind}" if USAGE.fullmatch(path) else path


def cases() -> Iterator[Any]:
    for route, policy in sorted(POLICIES.items()):
        for method, status in policy.success.items():
            if policy.door == "api":
                yield pytest.param(route, method, status, id=f"{method} {route}")


def operations() -> Iterator[tuple[str, dict[str, Any]]]:
    for path, item in document()["paths"].items():
        for method, operation in item.items():
            yield f"{method.upper()} {path}", operation


def wordless(schema: dict[str, Any], at: str) -> Iterator[str]:
    """Properties without a description, at any depth."""
    if "$ref" in schema:
        return
    for name, one in schema.get("properties", {}).items():
        if not followed(one).get("description"):
            yield f"{at}.{name}"
        yield from wordless(one, f"{at}.{name}")
    for inner in (schema.get("items"), schema.get("additionalProperties"), *schema.get("oneOf", [])):
        if isinstance(inner, dict):
            yield from wordless(inner, f"{at}[]")


def test_every_route_is_in_the_reference() -> None:
    listed = {name for name, _ in operations()}
    wanted = {
        f"{method} {template(route)}"
        for route, policy in POLICIES.items()
        for method in policy.success
        if policy.door == "api"
    }
    wanted |= {f"POST {path}" for path in HANDLERS}
    assert sorted(wanted - listed) == []
    assert sorted(listed - wanted) == []


def test_every_operation_has_words_a_scope_and_its_refusals() -> None:
    for name, operation in operations():
        assert operation["summary"] and operation["description"], name
        assert operation["x-scope"], name
        assert {"400", "401", "403"} <= set(operation["responses"]), name
        assert "{" not in name or "404" in operation["responses"] or "kind" in name, name
        assert all(answer["description"] for answer in operation["responses"].values()), name


def test_every_field_and_parameter_has_a_meaning() -> None:
    missing: list[str] = []
    for name, schema in document()["components"]["schemas"].items():
        missing += wordless(schema, name)
    for name, operation in operations():
        missing += [f"{name} ?{one['name']}" for one in operation.get("parameters", []) if not one.get("description")]
        holders = [operation.get("requestBody", {}), *operation["responses"].values()]
        for holder in holders:
            for content in holder.get("content", {}).values():
                missing += wordless(content["schema"], name)
    assert missing == []


def test_every_example_of_a_body_has_the_fields_of_its_body() -> None:
    seen = 0
    for name, operation in operations():
        method, path = name.split(" ")
        content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
        if "example" in content:
            schema = body_schema(method, path, "application/json")
            assert differences(schema, content["example"]) == [], name
            seen += 1
    assert seen >= 7


@pytest.fixture(scope="module")
def owner() -> Person:
    """Somebody whose objects the routes answer with."""
    return make_person("ada")


@pytest.mark.parametrize(("route", "method", "status"), cases())
def test_a_route_answers_what_the_reference_says(route: str, method: str, status: int, owner: Person) -> None:
    policy = POLICIES[route]
    if method == "GET" and route.endswith(BYTES) and "dataset" not in route:
        return
    answer = ask(policy, owner, method, route, policy.make(owner))
    assert answer.status_code == status
    assert differences(answer_schema(method, template(route), status), json.loads(answer.content)) == []


def test_filled_objects_are_as_the_reference_says(cast: Cast) -> None:
    """What the routes' plain cases leave empty: findings, points, a report, a live deployment, usage."""
    owner = cast.owner
    file, version, model = things.made_file(owner), things.made_version(owner), things.made_model(owner)
    deployment, hook = things.made_deployment(owner), f"/v1/webhook_endpoints/{things.made_webhook(owner).public_id}"
    job = things.made_job(owner, events=9)
    where = {"project_id": owner.project.id, "key_id": owner.key_row.id, "model": model.model.name}
    store_events([call(owner.tenant.id, 1, cost=2_000, at=now(), **where)])
    usage_rollup(tenant_id=owner.tenant.id)
    dataset = f"/v1/datasets/{version.dataset.public_id}"
    groups = "group_by=project_id&group_by=api_key_id"
    for path, shape in (
        (f"/v1/files/{file.public_id}", "/v1/files/{file_id}"),
        (f"/v1/files/{file.public_id}/findings", "/v1/files/{file_id}/findings"),
        (dataset, "/v1/datasets/{dataset_id}"),
        (f"{dataset}/versions/{version.public_id}/rows", "/v1/datasets/{dataset_id}/versions/{version_id}/rows"),
        (f"/v1/fine_tuning/jobs/{job.public_id}/events", "/v1/fine_tuning/jobs/{job}/events"),
        (f"/v1/fine_tuning/jobs/{job.public_id}/metrics", "/v1/fine_tuning/jobs/{job}/metrics"),
        (f"/v1/models/{model.model.name}", "/v1/models/{model}"),
        (f"/v1/deployments/{deployment.public_id}", "/v1/deployments/{deployment}"),
        (hook, "/v1/webhook_endpoints/{webhook_endpoint}"),
        (f"{hook}/deliveries", "/v1/webhook_endpoints/{webhook_endpoint}/deliveries"),
        (f"/v1/organization/usage/classify?{groups}&group_by=model", "/v1/organization/usage/{kind}"),
        (f"/v1/organization/costs?{groups}&group_by=line_item", "/v1/organization/costs"),
    ):
        answer = owner.api.get(path)
        assert answer.status_code == 200, answer.content
        body = json.loads(answer.content)
        assert differences(answer_schema("GET", shape, 200), body) == [], path
        assert body.get("data") != [], path


def test_a_full_report_is_as_the_reference_says() -> None:
    schema = document()["components"]["schemas"]["Report"]
    assert differences(schema, _report(_rows())) == []


def test_the_comparison_notices() -> None:
    """The tests above would be worth nothing if `differences` let things through."""
    schema = {"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}}
    assert differences(schema, {"a": 1}) == []
    assert differences(schema, {"a": True}) and differences(schema, {"a": None}) and differences(schema, {})
    assert differences(schema, {"a": 1, "b": 2}) == ["$.b is not in the reference"]


def test_the_reference_shows_scopes_errors_and_calls_that_can_be_copied(client: Any) -> None:
    text = client.get("/docs/api/files").content.decode()
    for words in ("files.write", "415", "-F", "FormData", "Idempotency-Key", "What the file is for"):
        assert words in text, words
    assert fill("v1/files", {}) in text


def test_what_comes_bit_by_bit_is_shown_read_bit_by_bit(client: Any) -> None:
    page = html.unescape(re.sub(r"<[^>]+>", "", client.get("/docs/api/fine-tuning-jobs").content.decode()))
    for words in ("curl -N ", "stream=True,", "answer.iter_lines(", "for await (const bytes of answer.body)"):
        assert words in page, words
