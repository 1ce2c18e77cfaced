"""The report keeps its contract, and the gate its rule."""

import json
from typing import Any

import numpy as np
import pytest

from evaluation import gate, report
from evaluation.intervals import Figure


def _rows(n: int = 200, *, ours: float = 0.9, floor: float = 0.6, seed: int = 0) -> report.TestRows:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, n)

    def predict(right: float) -> np.ndarray:
        return np.where(rng.random(n) < right, truth, (truth + 1) % 3)

    logits = rng.normal(size=(n, 3))
    logits[np.arange(n), predict(ours)] += 4
    powers = np.exp(logits)
    return report.TestRows(
        row_ids=list(range(1, n + 1)),
        texts=[f"text {i} " * (120 if i == 7 else 1) for i in range(n)],
        truth_labels=["abc"[t] for t in truth],
        truth=truth,
        probabilities=powers / powers.sum(axis=1, keepdims=True),
        baseline=predict(floor),
    )


def _report(rows: report.TestRows) -> dict[str, Any]:
    return report.build(
        task="text-classification",
        labels=["a", "b", "c"],
        rows=rows,
        counts={"train": 500, "validation": 100, "test": len(rows.texts)},
        temperature=1.5,
        baseline_name="tf-idf + linear",
        training={"seed": 1},
        limits=[],
        resamples=200,
    )


def test_the_report_has_every_key_of_the_contract_and_is_strict_json() -> None:
    made = _report(_rows())
    json.dumps(made, allow_nan=False)
    keys = {"format", "task", "labels", "n", "test", "per_class", "confusion", "calibration", "baseline"}
    keys |= {"verdict", "gate", "errors", "training", "limits"}
    assert keys <= made.keys()
    for figure in (*made["test"].values(), made["baseline"]["accuracy"], made["baseline"]["macro_f1"]):
        assert {"value", "low", "high", "n"} <= figure.keys()
        assert figure["low"] <= figure["value"] <= figure["high"]
        assert figure["n"] == 200
    assert {"label", "precision", "recall", "f1", "n", "f1_low", "f1_high"} <= made["per_class"][0].keys()
    assert {"low", "high", "n", "confidence", "accuracy"} == made["calibration"]["bins"][0].keys()
    assert {"better_by", "low", "high", "text_code"} <= made["verdict"].keys()
    assert sum(map(sum, made["confusion"])) == 200


def test_errors_are_the_surest_mistakes_first_and_at_most_twenty() -> None:
    made = _report(_rows(ours=0.5))
    shown = made["errors"]
    assert len(shown) == 20 < made["error_count"]
    assert [item["confidence"] for item in shown] == sorted((item["confidence"] for item in shown), reverse=True)
    assert all(item["label"] != item["predicted"] for item in shown)
    assert all(len(item["text"]) <= 400 for item in shown)


def test_the_commonest_slips_are_named() -> None:
    made = _report(_rows(ours=0.5))
    assert {(pair["label"], pair["predicted"]) for pair in made["confused"][:3]} == {("a", "b"), ("b", "c"), ("c", "a")}


def test_a_better_model_passes_and_the_verdict_says_by_how_much() -> None:
    made = _report(_rows(ours=0.95, floor=0.5))
    assert made["gate"]["passed"] is True
    assert made["verdict"]["text_code"] == "better_than_baseline"
    assert made["verdict"]["low"] > 0.2
    assert made["gate"]["reasons"][0]["code"] == "better_than_baseline"


def test_a_worse_model_does_not_pass_and_the_reason_has_figures() -> None:
    made = _report(_rows(ours=0.5, floor=0.95))
    assert made["gate"]["passed"] is False
    assert made["verdict"]["text_code"] == "worse_than_baseline"
    assert "points (95% interval" in made["gate"]["reasons"][0]["message"]


def test_equal_within_the_interval_passes_and_says_so() -> None:
    made = _report(_rows(ours=0.8, floor=0.8))
    assert made["gate"]["passed"] is True
    assert made["verdict"]["text_code"] == "equal_within_interval"


def test_a_model_below_the_commonest_label_does_not_pass() -> None:
    decision = gate.decide(
        Figure(0.0, -0.1, 0.1, 300),
        test_macro_f1=Figure(0.3, 0.2, 0.4, 300),
        majority_share=0.9,
        accuracy=Figure(0.5, 0.45, 0.55, 300),
    )
    assert decision.passed is False
    assert [reason["code"] for reason in decision.reasons] == ["equal_within_interval", "worse_than_majority"]


@pytest.mark.parametrize("n", [1, 5, 49])
def test_few_test_rows_are_pointed_out(n: int) -> None:
    made = _report(_rows(n))
    assert "small_test" in [reason["code"] for reason in made["gate"]["reasons"]]
