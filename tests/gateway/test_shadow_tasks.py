"""Shadows of models of every task that reads: what is reported is what the answers of both versions have in common."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from serving.models import Deployment, RequestRecord
from tenants.scope import tenant_scope
from tests.conftest import Person
from tests.gateway.conftest import GatewayProcess
from tests.gateway.writing_engine import until
from tests.inference.test_token_heads import DOCUMENTS, PAIRS, QUERY, TEXTS
from tests.serving.heads import made_for, roomy
from tests.serving.made import deployed, publish

pytestmark = pytest.mark.slow  # starts real processes
PREDICT = "/v1/predict"
PATIENCE = 20.0

Rows = list[dict[str, Any]]


def best(row: dict[str, Any]) -> str | None:
    first = row["answers"][:1]
    return first[0]["text"] if first and first[0]["score"] >= row["no_answer_probability"] else None


def labels(mine: Rows, theirs: Rows) -> dict[str, float | None]:
    return sets([set(one["labels"]) for one in mine], [set(one["labels"]) for one in theirs])


def entities(mine: Rows, theirs: Rows) -> dict[str, float | None]:
    here, there = (
        [{(e["label"], e["start"], e["end"]) for e in row["entities"]} for row in rows] for rows in (mine, theirs)
    )
    return sets(here, there)


def sets(mine: list[set[Any]], theirs: list[set[Any]]) -> dict[str, float | None]:
    both = sum(len(a & b) for a, b in zip(mine, theirs, strict=True))
    either = sum(len(a) + len(b) for a, b in zip(mine, theirs, strict=True))
    return {"agreed": share(a == b for a, b in zip(mine, theirs, strict=True)), "overlap": 2 * both / either}


def words(mine: Rows, theirs: Rows) -> dict[str, float | None]:
    return {"agreed": share(best(a) == best(b) for a, b in zip(mine, theirs, strict=True)), "overlap": None}


def gaps(mine: Rows, theirs: Rows) -> dict[str, float | None]:
    apart = [abs(a["value"] - b["value"]) for a, b in zip(mine, theirs, strict=True)]
    return {"agreed": None, "difference": sum(apart) / len(apart)}


def order(mine: Rows, theirs: Rows) -> dict[str, float | None]:
    here, there = ([row["score"] for row in rows] for rows in (mine, theirs))
    pairs = [(here[a] > here[b]) == (there[a] > there[b]) for a, b in itertools.combinations(range(len(here)), 2)]
    first = here.index(max(here)) == there.index(max(there))
    return {"agreed": float(first), "overlap": share(pairs)}


def cosines(mine: Rows, theirs: Rows) -> dict[str, float | None]:
    found = [
        sum(a * b for a, b in zip(one["embedding"], other["embedding"], strict=True))
        for one, other in zip(mine, theirs, strict=True)
    ]
    return {"agreed": None, "cosine": sum(found) / len(found)}


def share(found: Any) -> float:
    values = list(found)
    return sum(values) / len(values)


DOCUMENTED = [{"query": QUERY, "document": one} for one in DOCUMENTS]
ASKED = [{"question": question, "context": context} for question, context in PAIRS]
Case = tuple[str, dict[str, Any], Callable[[Rows, Rows], dict[str, float | None]], dict[str, Any]]
CASES: dict[str, Case] = {
    "multi-label-classification": (PREDICT, {"input": TEXTS, "threshold": 0.45}, labels, {}),
    "token-classification": (PREDICT, {"input": TEXTS}, entities, {}),
    "question-answering": (PREDICT, {"input": ASKED}, words, {}),
    "regression": (PREDICT, {"input": TEXTS}, gaps, {"names": ["stars"]}),
    "rerank": (PREDICT, {"input": DOCUMENTED}, order, {}),
    "embeddings": ("/v1/embeddings", {"input": TEXTS, "encoding_format": "float"}, cosines, {}),
}


def shadows(person: Person, candidate: Deployment, *fields: str) -> set[tuple[Any, ...]]:
    """What the request log, which is half a second behind, says of the shadow's calls."""
    with tenant_scope(person.tenant.id):
        asked = RequestRecord.objects.filter(arm="shadow", version_id=candidate.version_id)
        return set(asked.values_list(*fields))


@pytest.fixture(scope="module")
def ada() -> Person:
    return roomy("ada")


@pytest.mark.parametrize("task", CASES)
def test_what_a_shadow_reports_is_what_both_answers_have_in_common(
    gateway: GatewayProcess, ada: Person, task: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path, body, expected, options = CASES[task]
    alias = f"{task}@prod"
    rows = [
        deployed(ada, publish(ada, made_for(task, tmp_path_factory.mktemp("s") / "a", seed=seed, **options)), named)
        for seed, named in ((51, alias), (52, ""))
    ]
    with tenant_scope(ada.tenant.id):
        pair = [Deployment.objects.select_related("model").get(pk=row.pk) for row in rows]
    assert [row.state for row in pair] == ["live", "live"], [row.reason for row in pair]

    def ask(model: str) -> Rows:
        status, _, answer = gateway.post(path, json.dumps({"model": model} | body).encode(), ada.key)
        assert status == 200, answer
        data: Rows = json.loads(answer)["data"]
        return data

    mine, theirs = (ask(row.model.name) for row in pair)
    assert mine != theirs
    made = ada.api.post("/v1/rollouts", {"alias": alias, "candidate": pair[1].public_id, "mode": "shadow"})
    assert made.status_code == 200, made.content
    place, whole = f"/v1/rollouts/{made.json()['id']}", 1 if task == "rerank" else len(mine)
    deadline, shadow = time.monotonic() + PATIENCE, {"compared": 0}
    while shadow["compared"] < 2 * whole:
        assert time.monotonic() < deadline, shadow
        assert ask(alias) == mine, "callers get the stable version's answer"
        time.sleep(0.2)
        shadow = ada.api.get(place).json()["shadow"]
    assert shadow["compared"] % whole == 0
    wanted = {"overlap": None, "difference": None, "cosine": None} | expected(mine, theirs)
    if wanted["agreed"] is not None:
        wanted["agreed"] *= shadow["compared"]
    assert {name: shadow[name] for name in wanted} == {
        name: value if value is None else pytest.approx(value, abs=1e-4) for name, value in wanted.items()
    }
    until(lambda: {(200, 0)} == shadows(ada, pair[1], "status", "cost_nano"))
    page = ada.browser.get(f"{ada.workspace}/rollouts/{made.json()['id']}/").content.decode()
    assert "Same answers?" in page
    assert WORDS[task] in page


WORDS = {
    "multi-label-classification": "Labels in common (F1)",
    "token-classification": "Entities in common (F1)",
    "question-answering": "Questions compared",
    "regression": "Apart, on average",
    "rerank": "Pairs in the same order",
    "embeddings": "Mean cosine",
}


def test_a_model_for_labels_is_not_compared_by_its_vectors(
    gateway: GatewayProcess, ada: Person, tmp_path_factory: pytest.TempPathFactory
) -> None:
    task, alias = "text-classification", "intents@prod"
    rows = [
        deployed(ada, publish(ada, made_for(task, tmp_path_factory.mktemp("s") / "a", seed=seed)), named)
        for seed, named in ((51, alias), (52, ""))
    ]
    made = ada.api.post("/v1/rollouts", {"alias": alias, "candidate": rows[1].public_id, "mode": "shadow"}).json()

    def ask(path: str) -> dict[str, str]:
        status, headers, answer = gateway.post(path, json.dumps({"model": alias, "input": "a"}).encode(), ada.key)
        assert status == 200, answer
        return headers

    deadline = time.monotonic() + PATIENCE
    while "x-rollout-arm" not in ask("/v1/embeddings"):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    for _ in range(3):
        ask("/v1/embeddings")
    ask("/v1/classify")
    found: dict[str, int] = {"compared": 0}
    while not found["compared"]:
        assert time.monotonic() < deadline
        time.sleep(0.2)
        found = ada.api.get(f"/v1/rollouts/{made['id']}").json()["shadow"]
    assert (found["compared"], found["dropped"]) == (1, 0)
    until(lambda: {("classify",)} == shadows(ada, rows[1], "kind"))


def test_a_single_document_has_no_order_and_is_not_copied(
    gateway: GatewayProcess, ada: Person, tmp_path_factory: pytest.TempPathFactory
) -> None:
    alias = "single@prod"
    rows = [
        deployed(ada, publish(ada, made_for("rerank", tmp_path_factory.mktemp("s") / "a", seed=seed)), named)
        for seed, named in ((51, alias), (52, ""))
    ]
    made = ada.api.post("/v1/rollouts", {"alias": alias, "candidate": rows[1].public_id, "mode": "shadow"}).json()

    def ask(documents: Rows) -> dict[str, str]:
        status, headers, answer = gateway.post(
            PREDICT, json.dumps({"model": alias, "input": documents}).encode(), ada.key
        )
        assert status == 200, answer
        return headers

    until(lambda: "x-rollout-arm" in ask(DOCUMENTED[:1]))
    for _ in range(3):
        ask(DOCUMENTED[:1])
    ask(DOCUMENTED)
    place = f"/v1/rollouts/{made['id']}"
    until(lambda: ada.api.get(place).json()["shadow"]["compared"] > 0)
    shadow = ada.api.get(place).json()["shadow"]
    assert (shadow["compared"], shadow["dropped"]) == (1, 0)
    until(lambda: {(len(DOCUMENTS),)} == shadows(ada, rows[1], "items"))
