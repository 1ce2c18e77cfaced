"""A model really trained on planted words: it abstains, and says which words and which rows made it answer so."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
from django.conf import settings

from billing.models import UsageEvent
from billing.selectors.invariants import findings
from billing.services.limits import project_limits_set
from data.models import DatasetVersion
from data.selectors import version_rows
from data.services import dataset_delete, dataset_restore
from evaluation.occlusion import most_readings
from inference.client import BlockingClient
from kit.ids import parse_id
from serving.models import RequestRecord, RequestText
from serving.texts import text_of, texts_keep
from tenants.scope import ops_scope, tenant_scope
from tests.conftest import Person, make_person
from tests.contracts.conformance import answer_schema, body_schema, differences
from tests.gateway.conftest import GatewayProcess
from tests.gateway.planted import FILLER, Ready, planted, trained_live
from tests.gateway.test_request_log import record_of
from tests.inference.artefacts import BASE, make, record_parity
from tests.inference.reference import probabilities
from tests.serving.made import deployed, publish

pytestmark = pytest.mark.slow  # trains a model and starts real processes

PRICE = 20
"""Nano-dollars a token."""
TEXT = "yesterday we wrote about the zebra for the others"


@pytest.fixture(scope="module", params=["head", "lora"])
def ready(gateway: GatewayProcess, tmp_path_factory: pytest.TempPathFactory, request: Any) -> Ready:
    return trained_live(make_person("ada"), request.param, tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def engine(gateway: GatewayProcess) -> Iterator[BlockingClient]:
    with BlockingClient(settings.ENGINE_ADDRESS, settings.ENGINE_TOKEN) as client:
        yield client


def classify(gateway: GatewayProcess, ready: Ready, **body: Any) -> tuple[int, dict[str, str], dict[str, Any]]:
    raw = json.dumps({"model": ready.model, "input": TEXT} | body).encode()
    status, headers, answer = gateway.post("/v1/classify", raw, ready.person.key)
    return status, headers, json.loads(answer)


def explanation(gateway: GatewayProcess, ready: Ready, text: str = TEXT) -> dict[str, Any]:
    status, _, answer = classify(gateway, ready, input=text, x_explain=True)
    assert status == 200, answer
    found: dict[str, Any] = answer["data"][0]["x_explain"]
    return found


@pytest.mark.parametrize(("word", "label"), [("zebra", "animal"), ("wrench", "tool"), ("monkey", "animal")])
def test_the_planted_word_is_the_one_that_decided(gateway: GatewayProcess, ready: Ready, word: str, label: str) -> None:
    text = f"we wrote a long note about the {word}, for others: to read."
    status, _, answer = classify(gateway, ready, input=text, x_explain=True)
    assert status == 200, answer
    assert answer["data"][0]["label"] == label
    found = answer["data"][0]["x_explain"]
    assert (found["method"], found["label"]) == ("occlusion", label)
    assert found["probability"] == answer["data"][0]["confidence"]
    assert [one["text"] for one in found["words"]] == text.replace(",", "").replace(":", "").rstrip(".").split()
    for one in found["words"]:
        assert text[one["start"] : one["end"]] == one["text"]
    ranked = sorted(found["words"], key=lambda one: -one["effect"])
    assert ranked[0]["text"] == word
    assert ranked[0]["effect"] > 3 * abs(ranked[1]["effect"]) and ranked[0]["effect"] > 0.1
    alone = classify(gateway, ready, input=text.replace(f" {word}", ""))[2]["data"][0]["probabilities"]
    left = next(one["probability"] for one in alone if one["label"] == label)
    assert ranked[0]["effect"] == pytest.approx(found["probability"] - left, abs=2e-3)
    assert differences(answer_schema("POST", "/v1/classify", 200), answer) == []


def test_the_nearest_rows_are_those_that_a_search_through_all_finds(gateway: GatewayProcess, ready: Ready) -> None:
    rows = [row for row in _all_rows(ready.version) if row["split"] == "train"]
    client = gateway.client(ready.person)

    def vectors(texts: list[str]) -> np.ndarray:
        return np.array([one.embedding for one in client.embeddings.create(model=ready.model, input=texts).data])

    kept = np.concatenate([vectors([row["text"] for row in rows[i : i + 200]]) for i in range(0, len(rows), 200)])
    cosines = dict(zip([row["row_id"] for row in rows], kept @ vectors([TEXT])[0], strict=True))
    by_id = {row["row_id"]: row for row in rows}
    found = explanation(gateway, ready)["nearest"]
    assert len(found) == 5
    assert [one["similarity"] for one in found] == sorted((one["similarity"] for one in found), reverse=True)
    best = sorted(cosines.values(), reverse=True)[:5]
    for one, expected in zip(found, best, strict=True):
        assert one["similarity"] == pytest.approx(expected, abs=2e-3)
        assert one["similarity"] == pytest.approx(cosines[one["row"]], abs=2e-3)
        assert (one["text"], one["label"]) == (by_id[one["row"]]["text"], by_id[one["row"]]["label"])


def test_rows_of_a_deleted_dataset_are_not_shown(gateway: GatewayProcess, ready: Ready) -> None:
    with tenant_scope(ready.person.tenant.id):
        dataset_delete(dataset=ready.version.dataset)
    try:
        found = explanation(gateway, ready)
        assert found["nearest"] == [] and "deleted" in found["nearest_missing"]
        assert found["words"], "the words need no dataset"
    finally:
        with tenant_scope(ready.person.tenant.id):
            dataset_restore(dataset=ready.version.dataset)
    assert len(explanation(gateway, ready)["nearest"]) == 5


def test_an_explanation_is_paid_for_to_the_token(gateway: GatewayProcess, ready: Ready, engine: BlockingClient) -> None:
    words = TEXT.split()
    texts = [TEXT, *(" ".join(words[:i] + words[i + 1 :]) for i in range(len(words))), TEXT]
    lengths = engine.count(base=BASE.name, texts=texts).lengths
    status, headers, answer = classify(gateway, ready, x_explain=True)
    assert status == 200, answer
    assert answer["usage"] == {"input_tokens": sum(lengths), "total_tokens": sum(lengths)}
    assert answer["data"][0]["x_explain"]["tokens"] == sum(lengths) - lengths[0]
    assert float(headers["x-cost-usd"]) == pytest.approx(sum(lengths) * PRICE * 1e-9)
    event = _settled(ready.person, headers)
    assert (event.kind, event.input_tokens, event.cost_nano) == ("classify", sum(lengths), sum(lengths) * PRICE)
    assert event.requests == 1
    assert list(findings([ready.person.tenant.id])) == []


def test_what_an_explanation_may_cost_is_reserved_before_anything_runs(gateway: GatewayProcess, ready: Ready) -> None:
    person = ready.person
    with tenant_scope(person.tenant.id):
        project_limits_set(project=person.project, limits={"tokens_per_minute": 200})
    try:
        _until_limited(gateway, ready, 200)
        status, refused, answer = classify(gateway, ready, x_explain=True)
        assert status == 429 and "200 tokens" in answer["error"]["message"], answer
        status, headers, _ = classify(gateway, ready)
        assert status == 200, "the answer alone fits"
        assert _settled(person, headers).input_tokens < 20
        assert not _events(person, refused), "what was refused took nothing"
    finally:
        with tenant_scope(person.tenant.id):
            project_limits_set(project=person.project, limits={})
        _until_limited(gateway, ready, None)


def test_a_decision_is_explained_through_the_official_client(gateway: GatewayProcess, ready: Ready) -> None:
    decision = gateway.client(ready.person).decisions.create(
        model="planted@prod",
        input=[{"role": "user", "content": TEXT}],
        questions=[{"type": "choice", "instructions": "What is it about?", "name": "kind"}],  # type: ignore[typeddict-item]
        extra_body={"x_explain": True},
    )
    assert decision.answers[0].choice == "animal"  # type: ignore[union-attr]
    found: Any = decision.x_explain  # type: ignore[attr-defined]
    assert max(found["words"], key=lambda one: one["effect"])["text"] == "zebra"
    assert len(found["nearest"]) == 5
    assert decision.usage.input_tokens > found["tokens"] > 0
    assert differences(answer_schema("POST", "/v1/decisions", 200), decision.to_dict()) == []
    body = {"model": "m", "input": TEXT, "questions": [{"type": "choice"}], "x_explain": True, "x_abstain": False}
    assert differences(body_schema("POST", "/v1/decisions", "application/json"), body) == []


def test_of_a_long_text_the_segment_that_decides_is_looked_into_and_each_effect_can_be_repeated(
    gateway: GatewayProcess, ready: Ready
) -> None:
    text = " ".join([*FILLER[:3], "zebra", *(FILLER[i % 14] for i in range(116))])
    status, headers, answer = classify(gateway, ready, input=text, x_explain=True)
    assert status == 200, answer
    found = answer["data"][0]["x_explain"]
    assert ready.row.max_length is not None
    most = most_readings(text, ready.row.max_length)
    assert most // 2 < found["readings"] <= most < 120
    assert " ".join(one["text"] for one in found["words"]) == text
    assert sum(one["words"] for one in found["words"]) == 120
    best = max(found["words"], key=lambda one: one["effect"])
    assert "zebra" in best["text"].split() and best["words"] < 4
    whole = [one for one in found["segments"] if "zebra" in one["text"].split()]
    sizes = [one["words"] for one in (*whole, best)]
    assert len(sizes) > 1 and sizes == sorted(sizes, reverse=True), "each is a part of the one before"
    for one in (best, *whole):
        rest = (text[: one["start"]] + text[one["end"] :]).replace("  ", " ").strip()
        alone = classify(gateway, ready, input=rest)[2]["data"][0]["probabilities"]
        left = next(row["probability"] for row in alone if row["label"] == found["label"])
        assert one["effect"] == pytest.approx(found["probability"] - left, abs=2e-3)
    assert float(headers["x-cost-usd"]) == pytest.approx(answer["usage"]["input_tokens"] * PRICE * 1e-9)
    event = _settled(ready.person, headers)
    read_once = classify(gateway, ready, input=text)[2]["usage"]["input_tokens"]
    assert event.input_tokens == answer["usage"]["input_tokens"] <= (found["readings"] + 2) * read_once


@pytest.mark.parametrize("text", ["!?", "zebra", "斑马和锤子", "🙂 ok"])
def test_texts_with_hardly_a_word_are_explained_as_well(gateway: GatewayProcess, ready: Ready, text: str) -> None:
    found = explanation(gateway, ready, text)
    assert len(found["words"]) == {"!?": 0, "zebra": 1, "斑马和锤子": 5, "🙂 ok": 1}[text]
    assert len(found["nearest"]) == 5


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        ({"input": ["zebra"] * 100, "x_explain": True}, "x_explain", "one text a call; 'input' holds 100"),
        ({"input": "a " * 10_001, "x_explain": True}, "x_explain", "20,000 characters"),
        ({"x_explain": "yes"}, "x_explain", "true or false"),
        ({"x_explain": 1}, "x_explain", "true or false"),
        ({"x_explain": None}, "x_explain", "true or false"),
        ({"x_explain": {"words": 3}}, "x_explain", "true or false"),
    ],
)
def test_what_cannot_be_explained_is_refused_and_costs_nothing(
    gateway: GatewayProcess, ready: Ready, body: dict[str, Any], param: str, words: str
) -> None:
    status, _, answer = classify(gateway, ready, **body)
    assert status == 400, answer
    assert answer["error"]["param"] == param and words in answer["error"]["message"], answer


@pytest.mark.parametrize("path", ["embeddings", "rerank", "chat/completions", "completions"])
def test_other_routes_refuse_it_by_name(gateway: GatewayProcess, ready: Ready, path: str) -> None:
    for name in ("x_explain", "x_abstain"):
        raw = json.dumps({"model": ready.model, name: True}).encode()
        status, _, answer = gateway.post(f"/v1/{path}", raw, ready.person.key)
        assert status == 400 and name in json.loads(answer)["error"]["message"], answer


def test_the_trained_models_own_promise_is_kept_on_rows_it_never_saw(gateway: GatewayProcess, ready: Ready) -> None:
    table = ready.report["abstention"]
    best = max(point["at_least"] for point in table["points"])
    assert best > 0.7 and table["n"] == ready.report["n"]["test"]
    precision = best - 0.01
    fresh = planted(400, seed=99).decode().splitlines()[1:]
    rows = [line.rsplit(",", 1) for line in fresh]
    status, _, answer = classify(gateway, ready, input=[text for text, _ in rows], x_abstain={"precision": precision})
    assert status == 200, answer
    told = answer["x_abstain"]
    point = next(one for one in table["points"] if one["threshold"] == told["threshold"])
    assert point["at_least"] >= precision and told["held_out"] == table["n"]
    assert told["expected_precision"] == point["precision"] and told["expected_coverage"] == point["coverage"]
    answered = [(one["label"], truth) for one, (_, truth) in zip(answer["data"], rows, strict=True) if one["label"]]
    right = sum(label == truth for label, truth in answered)
    assert answered and right / len(answered) >= precision
    status, _, answer = classify(gateway, ready, x_abstain={"precision": 0.9999})
    assert status == 400 and f"at most {int(best * 1000) / 1000:.3f}" in answer["error"]["message"]


def test_both_wishes_go_together(gateway: GatewayProcess, ready: Ready) -> None:
    status, _, answer = classify(gateway, ready, x_explain=True, x_abstain={"threshold": 1})
    assert status == 200 and answer["data"][0]["label"] is None
    assert answer["data"][0]["x_explain"]["label"] == "animal"


def test_a_model_without_vectors_explains_its_words_alone(gateway: GatewayProcess, tmp_path: Path) -> None:
    person = make_person("ada")
    made = make(tmp_path / "a")
    record_parity(made, [TEXT], probabilities(made, [TEXT]))
    version = publish(person, made)
    deployed(person, version)
    raw = json.dumps({"model": version.model.name, "input": TEXT, "x_explain": True}).encode()
    status, headers, answer = gateway.post("/v1/classify", raw, person.key)
    found = json.loads(answer)["data"][0]["x_explain"]
    assert record_of(person, headers["x-request-id"]).explained
    assert status == 200 and found["nearest"] == [] and "Train it again" in found["nearest_missing"]
    assert len(found["words"]) == len(TEXT.split())


def test_the_playground_says_why_and_pays_as_a_call(gateway: GatewayProcess, ready: Ready) -> None:
    person, path = ready.person, f"{ready.person.workspace}/playground/why"
    with tenant_scope(person.tenant.id):
        texts_keep(project=person.project, days=1)
    answer = person.browser.post(path, {"deployment": ready.row.public_id, "text": TEXT})
    shown = " ".join(answer.content.decode().split())
    assert answer.status_code == 200, shown
    assert re.search(r'<mark class="hm-9" title="\+0\.\d+">zebra</mark>', shown)
    assert shown.count("<mark") == 1 and shown.count('<th scope="row" class="n">') == 5
    assert "Nearest rows of its training data" in shown
    with tenant_scope(person.tenant.id):
        event = UsageEvent.objects.filter(key_id=None).latest("pk")
        record = RequestRecord.objects.get(pk=parse_id("req_", event.request_id))
        kept = text_of(record)
    assert event.cost_nano == event.input_tokens * PRICE > 0
    assert f"{event.input_tokens} tokens" in shown
    assert (record.kind, record.items, record.cost_nano) == ("classify", 1, event.cost_nano)
    assert record.input_tokens == event.input_tokens and record.key_id is None
    assert kept is not None and kept.input == TEXT and "zebra" in kept.output
    assert all(row["text"] not in kept.output for row in _all_rows(ready.version))
    bad = person.browser.post(path, {"deployment": ready.row.public_id, "text": " "})
    assert bad.status_code == 422 and "Write a text" in bad.content.decode()
    run = person.browser.post(
        f"{person.workspace}/playground/", {"model": ready.row.public_id, "text": TEXT, "threshold": "0.5"}
    )
    assert "Why this answer?" in run.content.decode()


def test_what_is_kept_of_an_explanation_holds_no_training_rows(gateway: GatewayProcess, ready: Ready) -> None:
    with tenant_scope(ready.person.tenant.id):
        texts_keep(project=ready.person.project, days=1)
    deadline = time.monotonic() + 15
    while True:  # the gateway hears of it by the news of routes
        _, headers, answer = classify(gateway, ready, x_explain=True)
        shown = [row["text"] for row in answer["data"][0]["x_explain"]["nearest"]]
        assert len(shown) == 5 and all(shown)
        time.sleep(0.8)  # it is written behind the answer
        with tenant_scope(ready.person.tenant.id):
            found = RequestText.objects.filter(pk=parse_id("req_", headers["x-request-id"])).first()
        if found is not None:
            break
        assert time.monotonic() < deadline
    kept = json.loads(found.output)["data"][0]["x_explain"]
    assert [row["text"] for row in kept["nearest"]] == [None] * 5 and kept["words"]
    assert not [text for text in shown if text in found.output]


def test_a_stranger_learns_nothing_of_the_model(gateway: GatewayProcess, ready: Ready) -> None:
    client, answers = gateway.client(make_person("eve"), max_retries=0), set()
    for name in (ready.model, "ft:nobody:nothing"):
        with pytest.raises(openai.NotFoundError) as refused:
            client.post("/classify", body={"model": name, "input": TEXT, "x_explain": True}, cast_to=object)
        answers.add(str(refused.value).replace(name, "…"))
    assert len(answers) == 1 and "does not exist" in answers.pop()


def _all_rows(version: DatasetVersion) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    after: int | None = 0
    while after is not None:
        page = version_rows(version, after=after, limit=200)
        rows, after = rows + page.rows, page.next_after
    return rows


def _events(person: Person, headers: dict[str, str]) -> list[UsageEvent]:
    """What an answer was recorded as."""
    with ops_scope("a test counts"):
        return list(UsageEvent.ops.filter(tenant_id=person.tenant.id, request_id=headers["x-request-id"]))


def _settled(person: Person, headers: dict[str, str]) -> UsageEvent:
    """The one event of an answer, once it is shipped."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if found := _events(person, headers):
            (event,) = found
            return event
        time.sleep(0.1)
    raise AssertionError("the usage was not shipped")


def _until_limited(gateway: GatewayProcess, ready: Ready, tokens: int | None) -> None:
    """Wait until the gateway has heard of the project's limit."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        body = json.dumps({"model": BASE.name, "input": "x" * 300}).encode()  # at most 256 + nothing: over 200
        status, _, _ = gateway.post("/v1/embeddings", body, ready.person.key)
        if (status == 429) == (tokens is not None):
            return
        time.sleep(0.2)
    raise AssertionError("the limit did not arrive")
