"""Documents in the order of their nearness to a query."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from tests.conftest import Person, make_person
from tests.contracts.conformance import answer_schema, differences
from tests.gateway.conftest import GatewayProcess
from tests.inference.artefacts import BASE

pytestmark = pytest.mark.slow  # starts real processes

QUERY = "where is my refund"
DOCUMENTS = ["the weather is fine today", "I want my money back for this order", "a recipe for apple cake"]


@pytest.fixture(scope="module")
def person() -> Person:
    return make_person("ranker")


def rerank(gateway: GatewayProcess, person: Person, **changes: Any) -> tuple[int, dict[str, Any]]:
    body = {"model": BASE.name, "query": QUERY, "documents": DOCUMENTS} | changes
    status, _, answer = gateway.post("/v1/rerank", json.dumps(body).encode(), person.key)
    return status, json.loads(answer)


def test_scores_are_the_cosines_of_the_vectors_and_the_nearest_comes_first(
    gateway: GatewayProcess, person: Person
) -> None:
    status, answer = rerank(gateway, person, return_documents=True)
    assert status == 200, answer
    vectors = gateway.client(person).embeddings.create(model=BASE.name, input=[QUERY, *DOCUMENTS]).data
    query, *others = (np.array(one.embedding) for one in vectors)
    scores = [float(query @ other) for other in others]
    assert [one["index"] for one in answer["results"]] == sorted(range(3), key=scores.__getitem__, reverse=True)
    assert answer["results"][0]["document"] == {"text": DOCUMENTS[1]}
    for one in answer["results"]:
        assert one["relevance_score"] == pytest.approx(scores[one["index"]], abs=2e-3)
    assert answer["usage"]["total_tokens"] > 0
    assert not differences(answer_schema("POST", "/v1/rerank", 200), answer)


def test_only_the_nearest_and_documents_as_objects(gateway: GatewayProcess, person: Person) -> None:
    documents = [{"text": DOCUMENTS[0]}, DOCUMENTS[1], {"text": DOCUMENTS[2]}]
    status, answer = rerank(gateway, person, documents=documents, top_n=1)
    assert status == 200, answer
    assert [one["index"] for one in answer["results"]] == [1] and "document" not in answer["results"][0]


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"documents": []}, "documents"),
        ({"documents": ["x"] * 1001}, "documents"),
        ({"documents": ["a", " "]}, "documents[1]"),
        ({"query": ""}, "query"),
        ({"documents": "one"}, "documents"),
        ({"documents": [{"text": 5}]}, "documents[0].text"),
        ({"top_n": 0}, "top_n"),
        ({"rank_fields": ["text"]}, "rank_fields"),
    ],
)
def test_what_cannot_be_ranked_is_refused_by_its_place(
    gateway: GatewayProcess, person: Person, changes: dict[str, Any], param: str
) -> None:
    status, answer = rerank(gateway, person, **changes)
    assert status == 400 and answer["error"]["param"] == param, answer


def test_an_unknown_model_is_not_found(gateway: GatewayProcess, person: Person) -> None:
    status, answer = rerank(gateway, person, model="nobody")
    assert (status, answer["error"]["code"]) == (404, "model_not_found")
