"""Scores, refusals and abstention on /v1/decisions and /v1/classify, through the official client."""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
import pytest

from registry.models import ModelVersion
from serving.models import Deployment
from serving.services import deployment_precision_set
from tenants.scope import tenant_scope
from tests.conftest import Person, make_person
from tests.contracts.conformance import answer_schema, body_schema, differences
from tests.gateway.conftest import GatewayProcess
from tests.inference import reference
from tests.inference.artefacts import Made, make, record_parity, rewrite
from tests.serving.made import TEXTS, deployed, publish

pytestmark = pytest.mark.slow  # starts real processes

STARS = ["5", "3", "1", "2", "4"]
"""Labels of the model, in the order of its head: not that of their values."""
POINTS = [(0.0, 0.7, 0.65, 1.0), (0.4, 0.8, 0.75, 0.8), (0.6, 0.95, 0.9, 0.5), (0.9999, 0.99, 0.94, 0.1)]
TABLE = {
    "confidence": 0.95,
    "method": "clopper-pearson",
    "n": 500,
    "points": [
        {"threshold": t, "n": int(500 * c), "right": int(500 * c * p), "precision": p, "at_least": low, "coverage": c}
        for t, p, low, c in POINTS
    ],
}


class Ready:
    """An owner with a live model of five stars whose report holds TABLE."""

    def __init__(self, person: Person, row: Deployment, model: str, made: Made) -> None:
        self.person, self.row, self.model, self.made = person, row, model, made
        self.expected = reference.probabilities(made, TEXTS)
        self.sure = self.expected.max(axis=1)


@pytest.fixture(scope="module")
def ready(gateway: GatewayProcess, tmp_path_factory: pytest.TempPathFactory) -> Ready:
    person = make_person("ada")
    made = make(tmp_path_factory.mktemp("m") / "a", "head")
    made.labels[:] = STARS
    record_parity(made, TEXTS, reference.probabilities(made, TEXTS))
    rewrite(made, labels=STARS)
    version = publish(person, made)
    with tenant_scope(person.tenant.id):
        ModelVersion.objects.filter(pk=version.pk).update(report={"abstention": TABLE})
    row = deployed(person, version, alias="stars@prod")
    assert row.state == "live", row.reason
    return Ready(person, row, version.model.name, made)


def post(gateway: GatewayProcess, ready: Ready, path: str, **body: Any) -> tuple[int, dict[str, Any]]:
    raw = json.dumps({"model": ready.model, "input": TEXTS[0]} | body).encode()
    status, _, answer = gateway.post(path, raw, ready.person.key)
    return status, json.loads(answer)


def ask(gateway: GatewayProcess, ready: Ready, *questions: dict[str, Any], **extra: Any) -> Any:
    client = gateway.client(ready.person, max_retries=0)
    return client.decisions.create(
        model=ready.model,
        input=TEXTS[0],
        questions=list(questions),
        extra_body=extra,  # type: ignore[arg-type]
    )


def test_a_score_is_the_expected_value_over_the_levels(gateway: GatewayProcess, ready: Ready) -> None:
    row = ready.expected[0]
    by_label = dict(zip(STARS, map(float, row), strict=True))
    levels = [{"label": label} for label in ("2", "4", "5")]
    whole, some = ask(
        gateway, ready, {"type": "score", "name": "stars"}, {"type": "score", "instructions": "?", "levels": levels}
    ).answers
    assert (whole.type, whole.name) == ("score", "stars")
    assert [(one.value, one.label) for one in whole.probabilities] == [(i, str(i)) for i in range(1, 6)]
    assert whole.score == pytest.approx(sum(int(label) * p for label, p in by_label.items()), abs=1e-3)
    assert whole.confidence == pytest.approx(max(by_label.values()), abs=1e-3)
    total = by_label["2"] + by_label["4"] + by_label["5"]
    expected = (2 * by_label["2"] + 4 * by_label["4"] + 5 * by_label["5"]) / total
    assert some.score == pytest.approx(expected, abs=1e-3)
    assert sum(one.probability for one in some.probabilities) == pytest.approx(1, abs=1e-4)
    assert [one.value for one in some.probabilities] == [2, 4, 5]


@pytest.mark.parametrize(
    ("question", "param", "words"),
    [
        ({"type": "score", "levels": [{"label": "1"}]}, "questions[0].levels", "2 to 10"),
        ({"type": "score", "levels": [{"label": "2"}, {"label": "1"}]}, "questions[0].levels", "must rise"),
        ({"type": "score", "levels": [{"label": "1"}, {"label": "9"}]}, "questions[0].levels[1].label", "no label '9'"),
        ({"type": "score", "levels": [{"label": "1"}, {"label": "1"}]}, "questions[0].levels", "twice"),
        ({"type": "score", "levels": [{"label": 1}, {"label": "2"}]}, "questions[0].levels[0].label", "a string"),
        ({"type": "score", "levels": [], "instructions": "x"}, "questions[0].levels", "2 to 10"),
        ({"type": "choice", "instructions": [{"type": "input_image", "image_url": "x"}]},
         "questions[0].instructions[0].type", "text only"),
    ],
)  # fmt: skip
def test_scores_that_cannot_be_given_are_refused_with_their_place(
    gateway: GatewayProcess, ready: Ready, question: dict[str, Any], param: str, words: str
) -> None:
    status, answer = post(gateway, ready, "/v1/decisions", questions=[question])
    assert status == 400, answer
    assert answer["error"]["param"] == param
    assert words in answer["error"]["message"]


@pytest.mark.parametrize(
    ("item", "param"),
    [
        ({"type": "function_call", "name": "f", "arguments": "{}", "call_id": "c"}, "input[0].type"),
        ({"type": "function_call_output", "call_id": "c", "output": "x"}, "input[0].type"),
        ({"type": "custom_tool_call", "call_id": "c", "input": "x", "name": "n"}, "input[0].type"),
        ({"type": "custom_tool_call_output", "call_id": "c", "output": "x"}, "input[0].type"),
        ({"role": "user"}, "input[0].content"),
        ({"content": "x"}, "input[0].role"),
        ({"role": "user", "content": "x", "name": "ada"}, "input[0].name"),
        ({"role": "user", "content": [{"type": "input_json", "data": {}}]}, "input[0].content[0].type"),
        ({"role": "tool", "content": "x"}, "input[0].role"),
        ({"role": "user", "content": "x", "colour": 1}, "input[0].colour"),
        ({"role": "assistant", "content": "x", "phase": "commentary"}, "input[0].phase"),
    ],
)
def test_what_is_no_text_is_refused_by_name(
    gateway: GatewayProcess, ready: Ready, item: dict[str, Any], param: str
) -> None:
    status, answer = post(gateway, ready, "/v1/decisions", input=[item], questions=[{"type": "choice"}])
    assert status == 400, answer
    assert answer["error"]["param"] == param
    unsupported = param.endswith((".type", ".phase"))
    assert answer["error"]["code"] == ("unsupported_parameter" if unsupported else None)


def test_hints_for_a_cache_are_taken_and_change_nothing(gateway: GatewayProcess, ready: Ready) -> None:
    hint = {"mode": "explicit", "ttl": "30m"}
    text = {"type": "input_text", "text": TEXTS[0]}
    question = {"type": "choice", "instructions": [{"type": "input_text", "text": "Which?"}]}
    plain = {"input": [{"role": "user", "content": [text]}], "questions": [question]}
    hinted = {
        "input": [{"role": "user", "content": [text | {"prompt_cache_breakpoint": hint}]}],
        "questions": [
            {"type": "choice", "instructions": [
                {"type": "input_text", "text": "Which?", "prompt_cache_breakpoint": hint}]},
        ],
        "prompt_cache_options": hint,
    }  # fmt: skip
    body = {"model": ready.model, **hinted}
    assert differences(body_schema("POST", "/v1/decisions", "application/json"), body) == []
    without, with_hints = (post(gateway, ready, "/v1/decisions", **body) for body in (plain, hinted))
    assert without[0] == 200 and without == with_hints


def test_classify_abstains_below_the_threshold_that_a_precision_needs(gateway: GatewayProcess, ready: Ready) -> None:
    status, answer = post(gateway, ready, "/v1/classify", input=TEXTS, x_abstain={"precision": 0.85})
    assert status == 200, answer
    assert answer["x_abstain"] == {
        "threshold": 0.6, "precision": 0.85, "expected_precision": 0.95, "expected_coverage": 0.5, "held_out": 500,
        "confidence": 0.95,
    }  # fmt: skip
    assert min(ready.sure) < 0.6 < max(ready.sure), "the texts are on both sides"
    for one, row in zip(answer["data"], ready.expected, strict=True):
        assert one["confidence"] == pytest.approx(float(row.max()), abs=1e-3)
        assert len(one["probabilities"]) == len(STARS)
        if row.max() >= 0.6:
            assert one["label"] == STARS[int(row.argmax())] and "x_reason" not in one
        else:
            assert one["label"] is None and one["x_reason"] == "below_threshold"
    assert differences(answer_schema("POST", "/v1/classify", 200), answer) == []


def test_the_precision_takes_the_threshold_that_answers_most(gateway: GatewayProcess, ready: Ready) -> None:
    for asked, threshold in ((0.65, 0.0), (0.651, 0.4), (0.75, 0.4), (0.9, 0.6), (0.94, 0.9999)):
        _, answer = post(gateway, ready, "/v1/classify", x_abstain={"precision": asked})
        assert answer["x_abstain"]["threshold"] == threshold


def test_a_precision_that_the_rows_do_not_support_is_refused_with_the_best(
    gateway: GatewayProcess, ready: Ready
) -> None:
    for path, more in (
        ("/v1/classify", {}),
        ("/v1/predict", {}),
        ("/v1/decisions", {"questions": [{"type": "choice"}]}),
    ):
        status, answer = post(gateway, ready, path, x_abstain={"precision": 0.941}, **more)
        assert status == 400, answer
        assert answer["error"]["code"] == "precision_unsupported"
        assert answer["error"]["param"] == "x_abstain.precision"
        assert "at most 0.940" in answer["error"]["message"] and "500 held-out rows" in answer["error"]["message"]


@pytest.mark.parametrize(
    ("wish", "param"),
    [
        ({"precision": 2}, "x_abstain.precision"),
        ({"precision": 0}, "x_abstain.precision"),
        ({"precision": -1}, "x_abstain.precision"),
        ({"precision": "0.9"}, "x_abstain.precision"),
        ({"precision": True}, "x_abstain.precision"),
        ({"threshold": 1.5}, "x_abstain.threshold"),
        ({"threshold": -0.1}, "x_abstain.threshold"),
        ({"precision": 0.8, "threshold": 0.5}, "x_abstain"),
        ({}, "x_abstain"),
        ({"recall": 0.5}, "x_abstain.recall"),
        (True, "x_abstain"),
        ("yes", "x_abstain"),
        (0.9, "x_abstain"),
        ([0.9], "x_abstain"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/classify", "/v1/decisions", "/v1/predict"])
def test_bad_wishes_name_their_field(gateway: GatewayProcess, ready: Ready, path: str, wish: Any, param: str) -> None:
    more = {"questions": [{"type": "choice"}]} if path == "/v1/decisions" else {}
    status, answer = post(gateway, ready, path, x_abstain=wish, **more)
    assert status == 400, answer
    assert answer["error"]["param"] == param, answer


def test_predict_abstains_as_classify_does(gateway: GatewayProcess, ready: Ready) -> None:
    for wish in ({"precision": 0.85}, {"threshold": 1}, False, None):
        status, classified = post(gateway, ready, "/v1/classify", input=TEXTS, x_abstain=wish)
        assert status == 200, classified
        body = {"model": ready.model, "input": TEXTS, "x_abstain": wish}
        assert differences(body_schema("POST", "/v1/predict", "application/json"), body) == []
        status, predicted = post(gateway, ready, "/v1/predict", input=TEXTS, x_abstain=wish)
        assert status == 200 and predicted["data"] == classified["data"]
        assert predicted.get("x_abstain") == classified.get("x_abstain")
        assert ("x_abstain" in predicted) == bool(wish)
        assert differences(answer_schema("POST", "/v1/predict", 200), predicted) == []


def test_a_bare_threshold_works_and_promises_nothing(gateway: GatewayProcess, ready: Ready) -> None:
    status, answer = post(gateway, ready, "/v1/classify", x_abstain={"threshold": 1})
    assert status == 200
    assert answer["data"][0]["label"] is None
    told = answer["x_abstain"]
    assert told["threshold"] == 1 and told["held_out"] == 0
    assert told["precision"] is told["expected_precision"] is told["expected_coverage"] is told["confidence"] is None


def test_a_decision_is_refused_below_the_threshold_and_predicates_are_not(
    gateway: GatewayProcess, ready: Ready
) -> None:
    best = STARS[int(ready.expected[0].argmax())]
    others = [{"value": label} for label in STARS if label != best]
    sure = float(ready.sure[0])
    questions = (
        {"type": "choice", "name": "all"},
        {"type": "predicate", "name": best},
        {"type": "score", "name": "stars"},
        {"type": "choice", "choices": others},
    )
    decision = ask(gateway, ready, *questions, x_abstain={"threshold": min(sure + 0.01, 1)})
    assert [one.type for one in decision.answers] == ["refusal", "predicate", "refusal", "refusal"]
    refused = decision.answers[0]
    assert refused.name == "all"
    assert refused.x_reason == "below_threshold"
    assert refused.x_confidence == pytest.approx(sure, abs=1e-3)
    decision = ask(gateway, ready, *questions, x_abstain={"threshold": sure - 0.01})
    assert [one.type for one in decision.answers] == ["choice", "predicate", "score", "refusal"]
    assert decision.answers[0].choice == best
    assert decision.x_abstain["threshold"] == pytest.approx(sure - 0.01)
    # without the rule the last one would have had to take a label that the model thinks less likely
    assert [one.type for one in ask(gateway, ready, *questions).answers][-1] == "choice"
    assert differences(answer_schema("POST", "/v1/decisions", 200), decision.to_dict()) == []
    body = {"model": ready.model, "input": "x", "questions": list(questions), "x_abstain": {"precision": 0.8}}
    assert differences(body_schema("POST", "/v1/decisions", "application/json"), body) == []


def test_the_deployments_own_precision_holds_for_calls_that_say_nothing(gateway: GatewayProcess, ready: Ready) -> None:
    path = f"/v1/deployments/{ready.row.public_id}"
    changed = ready.person.api.post(path, {"precision": 0.94})
    assert changed.status_code == 200 and changed.json()["precision"] == 0.94
    try:
        answer = _until(gateway, ready, lambda answer: "x_abstain" in answer)
        assert answer["x_abstain"]["precision"] == 0.94 and answer["x_abstain"]["threshold"] == 0.9999
        assert answer["data"][0]["label"] is None
        status, predicted = post(gateway, ready, "/v1/predict")
        assert status == 200 and predicted["x_abstain"] == answer["x_abstain"]
        assert predicted["data"] == answer["data"] and predicted["data"][0]["x_reason"] == "below_threshold"
        assert differences(answer_schema("POST", "/v1/predict", 200), predicted) == []
        for door in ("/v1/classify", "/v1/predict"):
            _, off = post(gateway, ready, door, x_abstain=False)
            assert "x_abstain" not in off and off["data"][0]["label"] is not None
        _, same = post(gateway, ready, "/v1/classify", x_abstain=True)
        assert same["x_abstain"] == answer["x_abstain"]
        _, own = post(gateway, ready, "/v1/classify", x_abstain={"precision": 0.65})
        assert own["data"][0]["label"] is not None
        assert ask(gateway, ready, {"type": "choice"}).answers[0].type == "refusal"
        assert ask(gateway, ready, {"type": "choice"}, x_abstain=False).answers[0].type == "choice"
        for wrong in (0.941, 0, 2, "0.9", True):
            refused = ready.person.api.post(path, {"precision": wrong})
            assert refused.status_code == 400 and refused.json()["error"]["param"] == "precision", wrong
        assert ready.person.api.get(path).json()["precision"] == 0.94
    finally:
        assert ready.person.api.post(path, {"precision": None}).json()["precision"] is None
    _until(gateway, ready, lambda answer: "x_abstain" not in answer)


def test_a_model_without_a_table_says_to_train_again(gateway: GatewayProcess, ready: Ready, tmp_path: Any) -> None:
    made = make(tmp_path / "a", "head")
    record_parity(made, TEXTS, reference.probabilities(made, TEXTS))
    version = publish(ready.person, made)
    row = deployed(ready.person, version)
    body = {"model": version.model.name, "input": "x"}
    status, _, raw = gateway.post(
        "/v1/classify", json.dumps(body | {"x_abstain": {"precision": 0.6}}).encode(), ready.person.key
    )
    error = json.loads(raw)["error"]
    assert (status, error["code"]) == (400, "abstention_unmeasured") and "Train it again" in error["message"]
    status, _, raw = gateway.post(
        "/v1/classify", json.dumps(body | {"x_abstain": {"threshold": 0.1}}).encode(), ready.person.key
    )
    assert status == 200, raw
    with tenant_scope(ready.person.tenant.id), pytest.raises(Exception, match="Train it again"):
        deployment_precision_set(deployment=row, precision=0.5)


def test_what_is_promised_is_what_was_computed_whatever_the_subset(gateway: GatewayProcess, ready: Ready) -> None:
    """The threshold judges the probability over all labels, not the one that renormalising makes larger."""
    best, second = (STARS[int(place)] for place in np.argsort(-ready.expected[0])[:2])
    question = {"type": "choice", "choices": [{"value": best}, {"value": second}]}
    sure = float(ready.sure[0])
    over = float(sure / np.sort(ready.expected[0])[-2:].sum())
    assert over > sure + 0.002
    answer = ask(gateway, ready, question, x_abstain={"threshold": (sure + over) / 2}).answers[0]
    assert answer.type == "refusal"


def _until(gateway: GatewayProcess, ready: Ready, good: Any) -> dict[str, Any]:
    """The answer once the news has arrived."""
    deadline = time.monotonic() + 15
    while True:
        _, answer = post(gateway, ready, "/v1/classify")
        if good(answer):
            return answer
        assert time.monotonic() < deadline, answer
        time.sleep(0.1)
