"""One door for every task, moderation with a project's own model, and reranking by a cross-encoder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest

from billing.models import UsageEvent
from tenants.scope import tenant_scope
from tests.conftest import Person
from tests.contracts.conformance import answer_schema, differences
from tests.gateway.conftest import GatewayProcess
from tests.inference import reference
from tests.inference.artefacts import BASE, Made
from tests.inference.test_token_heads import DOCUMENTS, LONG, PAIRS, QUERY, TEXTS, best_spans
from tests.serving.heads import expected, live, made_for, roomy, scores

pytestmark = pytest.mark.slow  # starts real processes

TASKS = (
    "text-classification", "multi-label-classification", "regression", "embeddings", "token-classification",
    "question-answering", "rerank",
)  # fmt: skip


@dataclass
class Ready:
    """An owner with a live model of every task, and one with a single label."""

    gateway: GatewayProcess
    person: Person
    models: dict[str, tuple[str, Made]]

    def post(self, path: str, body: Any) -> tuple[int, dict[str, Any]]:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        status, _, answer = self.gateway.post(path, raw, self.person.key)
        return status, json.loads(answer)

    def predict(self, task: str, value: Any, **more: Any) -> dict[str, Any]:
        status, answer = self.post("/v1/predict", {"model": self.models[task][0], "input": value} | more)
        assert status == 200, answer
        assert answer["model"] == self.models[task][0]
        assert not differences(answer_schema("POST", "/v1/predict", 200), answer)
        return answer

    def refused(self, task: str, value: Any, path: str = "/v1/predict", **more: Any) -> dict[str, Any]:
        model = self.models[task][0] if task in self.models else task
        status, answer = self.post(path, {"model": model, "input": value} | more)
        assert status == 400, answer
        return answer["error"]


@pytest.fixture(scope="module")
def ready(gateway: GatewayProcess, tmp_path_factory: pytest.TempPathFactory) -> Ready:
    person, models = roomy("ada"), {}
    for task in TASKS:
        made = made_for(task, tmp_path_factory.mktemp("m") / "a")
        models[task] = live(person, made), made
    made = made_for("multi-label-classification", tmp_path_factory.mktemp("m") / "a", names=["spam"])
    models["one"] = live(person, made), made
    return Ready(gateway, person, models)


def test_one_label_of_several_is_answered_as_classify_does(ready: Ready) -> None:
    answer = ready.predict("text-classification", TEXTS[:2], top_k=2)
    chances = expected("text-classification", ready.models["text-classification"][1], TEXTS[:2])
    for one, row in zip(answer["data"], chances, strict=True):
        assert one["label"] == f"label {row.argmax()}" and len(one["probabilities"]) == 2
        assert one["confidence"] == pytest.approx(row.max(), abs=1e-3)
    assert answer["task"] == "text-classification"


@pytest.mark.parametrize("name", ["multi-label-classification", "one"])
def test_several_labels_are_decided_each_by_itself(ready: Ready, name: str) -> None:
    made = ready.models[name][1]
    chances = expected("multi-label-classification", made, TEXTS)
    for threshold in (None, 0.2, 0.9):
        answer = ready.predict(name, TEXTS, **({} if threshold is None else {"threshold": threshold}))
        for one, row in zip(answer["data"], chances, strict=True):
            found = {chance["label"]: chance for chance in one["probabilities"]}
            assert set(found) == set(made.labels)
            for label, chance in zip(made.labels, row, strict=True):
                assert found[label]["probability"] == pytest.approx(chance, abs=1e-3)
                assert found[label]["chosen"] == (chance >= (threshold or 0.5))
            assert set(one["labels"]) == {label for label in made.labels if found[label]["chosen"]}
            assert one["threshold"] == (threshold or 0.5)


def test_quantities_come_with_their_names(ready: Ready) -> None:
    values = expected("regression", ready.models["regression"][1], TEXTS[:1])
    one = ready.predict("regression", TEXTS[0])["data"][0]
    assert one["value"] == one["values"][0]["value"] == pytest.approx(float(values[0, 0]), abs=2e-3)
    assert one["values"][0]["name"] == "stars"


def test_a_decision_gets_its_score_from_a_model_for_regression(ready: Ready) -> None:
    name, person = ready.models["regression"][0], ready.person
    value = ready.predict("regression", TEXTS[0])["data"][0]["value"]
    decision = ready.gateway.client(person).decisions.create(
        model=name,
        input=TEXTS[0],
        questions=[
            {"type": "score", "instructions": "How many?"},
            {"type": "score", "instructions": "", "name": "stars"},
            {"type": "score", "instructions": "", "name": "mine"},
        ],
    )
    scores = [one for one in decision.answers if one.type == "score"]
    assert [one.name for one in scores] == [None, "stars", "mine"]
    assert [one.score for one in scores] == [pytest.approx(value, abs=1e-3)] * 3
    assert all(one.probabilities == [] and one.confidence == 0 for one in scores)
    assert decision.usage.input_tokens > 2 and decision.usage.output_tokens == 0


@pytest.mark.parametrize(
    ("question", "more", "param", "words"),
    [
        ({"type": "choice", "instructions": "?"}, {}, "questions[0].type", "Ask it for a 'score'"),
        ({"type": "predicate", "instructions": "?", "name": "stars"}, {}, "questions[0].type", "Ask it for a 'score'"),
        ({"type": "score", "levels": [{"label": "1"}, {"label": "2"}]}, {}, "questions[0].levels", "knows no levels"),
        ({"type": "score"}, {"x_abstain": {"threshold": 0.5}}, "x_abstain", "gives quantities"),
        ({"type": "score"}, {"x_explain": True}, "x_explain", "gives quantities"),
    ],
)
def test_what_a_quantity_cannot_decide_is_refused(
    ready: Ready, question: dict[str, Any], more: dict[str, Any], param: str, words: str
) -> None:
    body = {"model": ready.models["regression"][0], "input": "a", "questions": [question], **more}
    status, answer = ready.post("/v1/decisions", body)
    assert status == 400 and answer["error"]["param"] == param and words in answer["error"]["message"], answer


def test_entities_are_quoted_from_the_text(ready: Ready) -> None:
    answer = ready.predict("token-classification", [*TEXTS, LONG[1]])
    found = [entity for one in answer["data"] for entity in one["entities"]]
    assert len(found) > 20
    for text, one in zip([*TEXTS, LONG[1]], answer["data"], strict=True):
        for entity in one["entities"]:
            assert entity["text"] == text[entity["start"] : entity["end"]] == entity["text"].strip()
            assert entity["label"] in ("PER", "LOC")
    tokens = [len(reference.tokenizer()(text)["input_ids"]) for text in [*TEXTS, LONG[1]]]
    assert answer["usage"]["input_tokens"] == sum(tokens), "every token is paid for once, whatever the windows"


def test_questions_are_answered_from_their_contexts(ready: Ready) -> None:
    asked = [{"question": question, "context": context} for question, context in [*PAIRS, LONG]]
    answer = ready.predict("question-answering", asked, top_k=3)
    for pair, one in zip([*PAIRS, LONG], answer["data"], strict=True):
        question = len(reference.tokenizer()(pair[0], add_special_tokens=False)["input_ids"])
        spans, nothing = best_spans(ready.models["question-answering"][1], pair, 64, (64 - question - 3) // 4)
        assert [(a["start"], a["end"]) for a in one["answers"]] == [span[:2] for span in spans[:3]]
        assert one["answers"][0]["text"] == pair[1][spans[0][0] : spans[0][1]]
        assert one["no_answer_probability"] == pytest.approx(float(nothing), abs=2e-3)
    single = ready.predict("question-answering", asked[0])["data"][0]["answers"]
    assert single == answer["data"][0]["answers"][:1]


def test_a_cross_encoder_scores_pairs_and_reranks(ready: Ready) -> None:
    model, made = ready.models["rerank"]
    chances = scores(made, DOCUMENTS)[:, 0]
    answer = ready.predict("rerank", [{"query": QUERY, "document": one} for one in DOCUMENTS])
    np.testing.assert_allclose([one["score"] for one in answer["data"]], chances, atol=1e-3)
    assert answer["data"][2]["x_truncated_tokens"] > 0 and answer["usage"]["x_truncated_inputs"] == 1
    status, ranked = ready.post("/v1/rerank", {"model": model, "query": QUERY, "documents": DOCUMENTS, "top_n": 3})
    assert status == 200, ranked
    assert ranked["x_method"] == "cross-encoder" and ranked["usage"]["x_truncated_inputs"] == 1
    assert [one["index"] for one in ranked["results"]] == np.argsort(-chances)[:3].tolist()
    assert ranked["results"][0]["relevance_score"] == pytest.approx(float(chances.max()), abs=1e-3)
    assert not differences(answer_schema("POST", "/v1/rerank", 200), ranked)
    status, near = ready.post("/v1/rerank", {"model": BASE.name, "query": QUERY, "documents": DOCUMENTS})
    assert status == 200 and near["x_method"] == "cosine"


def test_moderation_by_the_official_client_is_the_model_of_several_labels(ready: Ready) -> None:
    model, made = ready.models["multi-label-classification"]
    chances = expected("multi-label-classification", made, TEXTS[:2])
    client = ready.gateway.client(ready.person, max_retries=0)
    answer = client.moderations.create(model=model, input=TEXTS[:2])
    assert answer.id.startswith("modr-") and answer.model == model
    assert len(answer.results) == 2
    for one, row in zip(answer.results, chances, strict=True):
        assert one.flagged == bool((row >= 0.5).any())
        assert one.category_scores.to_dict() == {
            label: pytest.approx(float(chance), abs=1e-3) for label, chance in zip(made.labels, row, strict=True)
        }
        assert one.categories.to_dict() == {label: bool(p >= 0.5) for label, p in zip(made.labels, row, strict=True)}
        assert one.category_applied_input_types.to_dict() == {label: ["text"] for label in made.labels}
    alone = client.moderations.create(model=model, input=TEXTS[0])
    assert alone.results == answer.results[:1]
    parts = client.moderations.create(model=model, input=[{"type": "text", "text": TEXTS[0]}])
    assert parts.results == answer.results[:1]
    strict = client.moderations.create(model=model, input=TEXTS[0], extra_body={"x_threshold": 0.0})
    assert all(strict.results[0].categories.to_dict().values())
    status, raw = ready.post("/v1/moderations", {"model": model, "input": [TEXTS[0], TEXTS[3] * 20]})
    assert status == 200 and raw["results"][1]["x_truncated_tokens"] > 0 and raw["x_usage"]["x_truncated_inputs"] == 1
    assert not differences(answer_schema("POST", "/v1/moderations", 200), raw)


def test_moderation_refuses_what_it_cannot_do_by_name(ready: Ready) -> None:
    model = ready.models["multi-label-classification"][0]
    client = ready.gateway.client(ready.person, max_retries=0)
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    with pytest.raises(openai.BadRequestError, match="images cannot be moderated") as refused:
        client.moderations.create(model=model, input=[{"type": "text", "text": "a"}, image])  # type: ignore[list-item]
    assert (refused.value.param, refused.value.code) == ("input[1]", "unsupported_parameter")
    with pytest.raises(openai.BadRequestError, match="Missing field 'model'"):
        client.moderations.create(input="a")
    with pytest.raises(openai.BadRequestError, match="classifies texts") as wrong:
        client.moderations.create(model=ready.models["text-classification"][0], input="a")
    assert wrong.value.code == "unsupported_model"
    for value, param in (
        ([], "input"), ([{"type": "text", "text": " "}], "input[0].text"), ([{"type": "text"}], "input[0].text"),
        (["a", image], "input[1]"), ([{"type": "text", "text": "a"}, "b"], "input[1]"), (5, "input"), ("", "input"),
        ([image] * 100_000, "input"), ([{"type": ["text"], "text": "a"}], "input[0]"),
    ):  # fmt: skip
        assert ready.refused("multi-label-classification", value, "/v1/moderations")["param"] == param


@pytest.mark.parametrize(
    ("task", "value", "more", "param"),
    [
        ("text-classification", "", {}, "input"),
        ("text-classification", ["a", "\n"], {}, "input[1]"),
        ("text-classification", ["a"] * 100_000, {}, "input"),
        ("text-classification", [1, 2], {}, "input[0]"),
        ("text-classification", [{"type": "input_image", "image_url": "x"}], {}, "input[0]"),
        ("text-classification", {"question": "a", "context": "b"}, {}, "input"),
        ("text-classification", None, {}, "input"),
        ("text-classification", "a", {"threshold": 0.5}, "threshold"),
        ("multi-label-classification", "a", {"threshold": 1.5}, "threshold"),
        ("regression", "a", {"top_k": 1}, "top_k"),
        ("token-classification", "a", {"top_k": 1}, "top_k"),
        ("token-classification", [], {}, "input"),
        ("question-answering", "who?", {}, "input"),
        ("question-answering", ["who?"], {}, "input[0]"),
        ("question-answering", [], {}, "input"),
        ("question-answering", {"question": "who?"}, {}, "input.context"),
        ("question-answering", {"question": " ", "context": "a"}, {}, "input.question"),
        ("question-answering", {"question": "a", "context": ["b"]}, {}, "input.context"),
        ("question-answering", [{"question": "a", "context": "b", "id": 1}], {}, "input[0].id"),
        ("question-answering", [{"question": "a", "context": "b"}] * 100_000, {}, "input"),
        ("question-answering", {"question": "a", "context": "b"}, {"top_k": 21}, "top_k"),
        ("question-answering", {"question": "why " * 60, "context": "because " * 60}, {}, "input"),
        ("rerank", {"question": "a", "context": "b"}, {}, "input.query"),
        ("rerank", [{"query": "a", "document": "b"}, {"query": "c", "document": "d"}], {}, "input"),
        ("text-classification", "a", {"temperature": 1}, "temperature"),
        ("multi-label-classification", "a", {"x_abstain": {"threshold": 0.5}}, "x_abstain"),
        ("regression", "a", {"x_abstain": True}, "x_abstain"),
        ("token-classification", "a", {"x_abstain": {"precision": 0.9}}, "x_abstain"),
        ("question-answering", {"question": "a", "context": "b"}, {"x_abstain": {}}, "x_abstain"),
        ("rerank", {"query": "a", "document": "b"}, {"x_abstain": {"threshold": 0.5}}, "x_abstain"),
    ],
)
def test_what_a_task_does_not_take_is_refused_by_its_place(
    ready: Ready, task: str, value: Any, more: dict[str, Any], param: str
) -> None:
    assert ready.refused(task, value, **more)["param"] == param


def test_lone_surrogates_and_other_bytes_are_refused(ready: Ready) -> None:
    for task in TASKS:
        model = ready.models[task][0].encode()
        for raw in (b'{"model": "%s", "input": "\\ud800"}' % model, b'{"model": "%s", "input": "\xff"}' % model, b"[]"):
            for path in ("/v1/predict", "/v1/moderations"):
                status, answer = ready.post(path, raw)
                assert status == 400 and answer["error"]["message"], answer


def test_a_model_is_refused_where_its_task_is_not_answered(ready: Ready) -> None:
    assert "gives vectors and no labels" in ready.refused("embeddings", "a")["message"]
    assert "is a base and answers no task" in ready.refused(BASE.name, "a")["message"]
    for task, words in (
        ("regression", "gives quantities"), ("token-classification", "finds entities"),
        ("question-answering", "answers questions"), ("rerank", "scores documents"), ("embeddings", "gives vectors"),
    ):  # fmt: skip
        error = ready.refused(task, "a", "/v1/classify")
        assert words in error["message"] and error["code"] == "unsupported_model"
    status, several = ready.post("/v1/classify", {"model": ready.models["one"][0], "input": "a"})
    assert status == 200 and several["data"][0]["label"] == "spam"
    status, vectors = ready.post("/v1/embeddings", {"model": ready.models["embeddings"][0], "input": "a"})
    assert status == 200 and vectors["data"]


def test_every_call_is_metered_for_what_it_read(ready: Ready, tmp_path: Path) -> None:
    from tests.training.background import until

    person = roomy("meter")
    models = {}
    for task in ("token-classification", "question-answering", "rerank", "multi-label-classification"):
        models[task] = live(person, made_for(task, tmp_path / task))
    mine = Ready(ready.gateway, person, {task: (name, ready.models[task][1]) for task, name in models.items()})
    read = {
        "token-classification": mine.predict("token-classification", LONG[1]),
        "question-answering": mine.predict("question-answering", {"question": LONG[0], "context": LONG[1]}),
        "rerank": mine.predict("rerank", {"query": QUERY, "document": DOCUMENTS[0]}),
        "multi-label-classification": mine.post(
            "/v1/moderations", {"model": models["multi-label-classification"], "input": "ok"}
        )[1],
    }

    def events() -> dict[str, UsageEvent]:
        with tenant_scope(person.tenant.id):
            return {event.model: event for event in UsageEvent.objects.all()}

    until(lambda: len(events()) == 4)
    for task, answer in read.items():
        event, usage = events()[models[task]], answer.get("usage") or answer["x_usage"]
        assert event.input_tokens == usage["total_tokens"] > 0
        assert event.kind == ("rerank" if task == "rerank" else "classify") and event.requests == 1
        assert event.cost_nano == event.input_tokens * (10 if task == "rerank" else 20)
