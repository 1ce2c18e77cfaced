"""Precision–recall curves against scikit-learn, and what a report keeps of them."""

import json

import numpy as np
import pytest

from evaluation.curves import MOST_IN_ALL, MOST_POINTS, Curve, Scored, average_precision_figure, curve, of_report
from tests.late import late

reference = late("sklearn.metrics")


def _scored(n: int, classes: int, *, seed: int, sharp: float = 1.5) -> Scored:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, n)
    logits = rng.normal(size=(n, classes))
    logits[np.arange(n), truth] += sharp
    powers = np.exp(logits)
    return Scored(truth, powers / powers.sum(axis=1, keepdims=True))


@pytest.mark.slow  # loads scikit-learn
@pytest.mark.parametrize("digits", [1, 2, 9])
def test_the_curve_and_its_area_are_scikit_learns_ties_included(digits: int) -> None:
    rng = np.random.default_rng(digits)
    positive = rng.random(400) < 0.3
    scores = np.round(rng.random(400) * 0.6 + positive * 0.3, digits)
    found = curve(scores, positive)
    precision, recall, threshold = reference.precision_recall_curve(positive, scores)
    np.testing.assert_allclose(found.threshold, threshold[::-1])
    np.testing.assert_allclose(found.precision, precision[:-1][::-1])
    np.testing.assert_allclose(found.recall, recall[:-1][::-1])
    assert found.average_precision() == pytest.approx(reference.average_precision_score(positive, scores))


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    population = curve(*_scored(200_000, 2, seed=1).of_class(0)).average_precision()
    samples = [average_precision_figure(curve(*_scored(300, 2, seed=seed).of_class(0))) for seed in range(2, 202)]
    held = sum(figure.low <= population <= figure.high for figure in samples)
    assert 180 <= held <= 200


def test_a_perfect_curve_does_not_promise_certainty() -> None:
    figure = average_precision_figure(curve(np.array([0.9, 0.8, 0.1]), np.array([True, True, False])))
    assert figure.value == 1.0 and figure.n == 2 and figure.low < 0.5


def test_an_area_a_hair_from_one_or_nothing_has_an_interval() -> None:
    for value in (1 - 1e-16, 1 - 1e-12, 1 - 1e-7, 1e-12, 1e-7):
        found = Curve(np.array([0.5]), np.array([value]), np.array([1.0]), 30)
        figure = average_precision_figure(found)
        assert 0 <= figure.low <= figure.value <= figure.high <= 1


def test_thinning_keeps_both_ends_and_the_extremes() -> None:
    whole = curve(*_scored(5_000, 3, seed=4).of_class(1))
    thin = whole.thinned(40)
    assert whole.threshold.size > 1_000 > 40 >= thin.threshold.size > 20
    assert (thin.threshold[0], thin.threshold[-1]) == (whole.threshold[0], whole.threshold[-1])
    assert (thin.precision.min(), thin.precision.max()) == (whole.precision.min(), whole.precision.max())


def test_the_threshold_is_chosen_on_validation_and_measured_on_the_test_rows() -> None:
    test, validation = _scored(400, 2, seed=5), _scored(400, 2, seed=6)
    made = of_report(["a", "b"], test, validation)["classes"][0]
    scores, positive = validation.of_class(0)
    f1 = {t: 2 * (positive & (scores >= t)).sum() / (positive.sum() + (scores >= t).sum()) for t in scores}
    best = max(f1, key=lambda t: f1[t])
    acted = test.probabilities[:, 0] >= best
    chosen = made["chosen"]
    assert chosen["threshold"] == round(float(best), 4) and chosen["from"] == "validation"
    assert chosen["precision"] == pytest.approx((test.truth[acted] == 0).mean(), abs=1e-4)
    assert chosen["recall"] == pytest.approx((acted & (test.truth == 0)).sum() / (test.truth == 0).sum(), abs=1e-4)


def test_the_curve_of_the_answers_ends_at_the_accuracy() -> None:
    test = _scored(500, 4, seed=7)
    made = of_report(list("abcd"), test, None)
    accuracy = (test.probabilities.argmax(axis=1) == test.truth).mean()
    threshold, precision, recall = made["answers"]["points"][-1]
    assert precision == recall == pytest.approx(accuracy, abs=1e-4)
    assert threshold == pytest.approx(test.probabilities.max(axis=1).min(), abs=1e-4)
    assert made["answers"]["n"] == 500 and made["answers"]["chosen"]["threshold"] == 0.5
    assert [one["chosen"] for one in made["classes"]] == [None] * 4


def test_a_class_without_test_rows_has_no_curve_and_unseen_labels_count_against_precision() -> None:
    test = Scored(np.array([0, 0, -1]), np.array([[0.9, 0.1, 0.0], [0.8, 0.1, 0.1], [0.85, 0.1, 0.05]]))
    made = of_report(["a", "b", "c"], test, None)["classes"]
    assert made[1] == {"label": "b", "n": 0, "average_precision": None, "chosen": None, "steps": 0, "points": []}
    assert made[0]["points"] == [[0.9, 1.0, 0.5], [0.85, 0.5, 0.5], [0.8, 0.6667, 1.0]]


@pytest.mark.parametrize("classes", [2, 150, 1_000])
def test_a_report_stays_small_however_many_classes_there_are(classes: int) -> None:
    made = of_report([f"label {c}" for c in range(classes)], _scored(3_000, classes, seed=8), None)
    assert all(len(one["points"]) <= MOST_POINTS for one in made["classes"])
    assert sum(len(one["points"]) for one in made["classes"]) <= MOST_IN_ALL
    assert len(json.dumps(made, allow_nan=False)) < 800_000


def test_a_threshold_that_no_test_row_reaches_has_no_precision() -> None:
    test = Scored(np.array([0, 1]), np.array([[0.6, 0.4], [0.3, 0.7]]))
    sure = Scored(np.array([0, 1]), np.array([[0.9, 0.1], [0.2, 0.8]]))
    chosen = of_report(["a", "b"], test, sure)["classes"][0]["chosen"]
    assert chosen == {"threshold": 0.9, "precision": None, "recall": 0.0, "from": "validation"}
