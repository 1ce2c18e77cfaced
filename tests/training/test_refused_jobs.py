"""Jobs that a limit refuses are in the trace of "Why was I blocked?", in the same words as calls."""

from __future__ import annotations

import time
from typing import Any

import pytest

from billing.services.entitlements import override_set
from billing.services.limits import project_limits_set, spend_limit_set
from tenants.scope import tenant_scope
from tests.conftest import Cast, Person
from tests.training.making import body, create, queued
from training.services.queueing import job_validate

JOBS, DECISIONS = "/v1/fine_tuning/jobs", "/v1/limits/decisions"


def traced(person: Person, reason: str) -> dict[str, Any]:
    """The one refusal for that reason, once it is written."""
    began = time.monotonic()
    while time.monotonic() - began < 10:
        found = [one for one in person.api.get(DECISIONS).json()["data"] if one["reason"] == reason]
        if found:
            return dict(found[0])
        time.sleep(0.1)
    raise AssertionError("the refusal is not to be seen")


def allow(person: Person, **limits: int) -> None:
    with tenant_scope(person.tenant.id):
        override_set(reason="test", created_by="test", limits=limits)


def page_of(person: Person, query: str = "") -> str:
    return " ".join(person.browser.get(f"{person.home}/usage/refused?{query}").content.decode().split())


@pytest.mark.parametrize("whose", ["organization", "project"])
def test_a_job_without_money_says_whose_limit_what_it_needed_and_what_was_left(cast: Cast, whose: str) -> None:
    ada = cast.owner
    with tenant_scope(ada.tenant.id):
        if whose == "organization":
            spend_limit_set(monthly_nano=7)
        else:
            project_limits_set(project=ada.project, limits={"monthly_spend_nano": 7})
    job = create(ada)
    assert job_validate(tenant_id=ada.tenant.id, job_id=job.pk) == "failed"
    found = traced(ada, "spend")
    assert (found["scope"], found["limit"]["kind"], found["limit"]["value"]) == (whose, "monthly_spend", 7)
    assert (found["status"], found["kind"], found["model"], found["remaining"]) == (402, "training", job.base, 7)
    assert found["asked"] > 7 and found["request_ids"] == [job.public_id]
    assert found["api_key_id"] == ada.key_row.public_id
    (again,) = ada.api.get(f"{DECISIONS}?request_id={job.public_id}").json()["data"]
    assert again == found
    page = page_of(ada, f"request={job.public_id}")
    assert "the month&#x27;s money is used up" in page and job.public_id in page


def test_a_full_queue_is_in_the_trace(cast: Cast) -> None:
    ada = cast.owner
    allow(ada, queued_jobs=1)
    queued(ada)
    answer = ada.api.post(JOBS, body(ada))
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "queue_limit")
    found = traced(ada, "concurrency")
    assert (found["scope"], found["limit"]) == ("organization", {"kind": "queued_jobs", "value": 1, "unit": "jobs"})
    assert (found["asked"], found["remaining"], found["status"]) == (1, 0, 429)
    assert found["request_ids"] == [answer.headers["x-request-id"]]
    assert "1 jobs that wait" in page_of(ada) and "passes when one has ended" in page_of(ada)


def test_what_the_plan_does_not_have_is_in_the_trace(cast: Cast) -> None:
    ada = cast.owner
    answer = ada.api.post(JOBS, body(ada, x_lane="priority"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "not_in_plan")
    found = traced(ada, "plan")
    assert (found["limit"]["kind"], found["kind"], found["status"]) == ("plan", "training_priority", 403)
    assert "the plan does not include it" in page_of(ada)


def test_more_rows_than_the_plan_trains_on_are_in_the_trace(cast: Cast) -> None:
    ada = cast.owner
    allow(ada, train_rows=5)
    job = create(ada)
    assert job_validate(tenant_id=ada.tenant.id, job_id=job.pk) == "failed"
    found = traced(ada, "too_large")
    assert (found["limit"], found["remaining"]) == ({"kind": "train_rows", "value": 5, "unit": "rows"}, 5)
    assert found["asked"] > 5 and found["status"] == 400


def test_a_job_that_is_refused_for_its_file_is_not_in_the_trace(cast: Cast) -> None:
    ada = cast.owner
    assert ada.api.post(JOBS, body(ada, training_file="file-nobody")).status_code == 404
    allow(ada, queued_jobs=0)
    ada.api.post(JOBS, body(ada))
    traced(ada, "concurrency")
    assert len(ada.api.get(DECISIONS).json()["data"]) == 1
