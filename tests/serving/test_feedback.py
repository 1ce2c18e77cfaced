"""What is said of answers, over the API."""

from __future__ import annotations

import pytest

from kit.ids import new_id, public_id
from serving.models import Feedback
from tenants.scope import tenant_scope
from tests.conftest import Person, make_person
from tests.serving.rolling import ALIAS, live, logged


@pytest.fixture
def ada() -> Person:
    return make_person("ada")


def test_feedback_is_given_once_for_a_request_and_can_be_changed(ada: Person) -> None:
    row = live(ada, ALIAS)
    request = logged(ada, row, arm="stable")
    first = ada.api.post("/v1/feedback", {"request_id": request, "correct": True}).json()
    same = ada.api.post("/v1/feedback", {"request_id": request, "correct": True}).json()
    assert first == same
    changed = ada.api.post("/v1/feedback", {"request_id": request, "correct": False, "label": "refund"}).json()
    assert (changed["id"], changed["correct"], changed["label"]) == (first["id"], False, "refund")
    assert (changed["request_id"], changed["model"], changed["arm"]) == (request, ALIAS, "stable")
    assert ada.api.get("/v1/feedback").json()["data"] == [changed]
    with tenant_scope(ada.tenant.id):
        assert Feedback.objects.get().version_id == row.version_id


def test_feedback_needs_an_answered_request_of_the_own_project(ada: Person) -> None:
    stranger = make_person("ben")
    theirs, failed, shadow = logged(stranger), logged(ada, status=503), logged(ada, arm="shadow")
    unknown = []
    for request in (theirs, public_id("req_", new_id()), shadow, "req_nonsense"):
        answer = ada.api.post("/v1/feedback", {"request_id": request, "correct": True})
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "request_not_found")
        unknown.append(answer.content.decode().replace(request, ""))
    assert len(set(unknown)) == 1
    answer = ada.api.post("/v1/feedback", {"request_id": failed, "correct": True})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "request_id")
    for body in ({"request_id": failed}, {"request_id": failed, "correct": "yes"}, {"correct": True}):
        assert ada.api.post("/v1/feedback", body).status_code == 400
