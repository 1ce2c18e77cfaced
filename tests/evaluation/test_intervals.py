"""Intervals cover what they promise, for every figure, and are the same for the same seed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation import intervals, metrics


def _rows(n: int, right: float, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, n)
    wrong = (truth + rng.integers(1, classes, n)) % classes
    return truth, np.where(rng.random(n) < right, truth, wrong)


@settings(max_examples=50, deadline=None)
@given(
    n=st.integers(1, 300),
    right=st.floats(0, 1, allow_subnormal=False),
    classes=st.integers(2, 8),
    seed=st.integers(0, 10**6),
)
def test_every_interval_holds_its_value_and_stays_in_range(n: int, right: float, classes: int, seed: int) -> None:
    truth, predicted = _rows(n, right, classes, seed)
    draws = intervals.draw_counts(truth, predicted, classes, resamples=100, seed=seed)
    figures = [
        intervals.accuracy_figure(truth, predicted, draws),
        intervals.macro_f1_figure(truth, predicted, classes, draws),
        *intervals.class_f1_figures(truth, predicted, classes, draws),
    ]
    for figure in figures:
        assert 0 <= figure.low <= figure.value <= figure.high <= 1
    assert figures[0].n == n and sum(figure.n for figure in figures[2:]) == n


def test_the_counts_drawn_from_cells_equal_those_of_resampled_rows_in_distribution() -> None:
    truth, predicted = _rows(400, 0.8, 5, 1)
    draws = intervals.draw_counts(truth, predicted, 5, resamples=4000, seed=2)
    ours = metrics.macro_from_counts(draws.hits, draws.told, draws.real)
    rng, rows = np.random.default_rng(3), []
    for _ in range(4000):
        pick = rng.integers(0, 400, 400)
        rows.append(metrics.macro_f1(truth[pick], predicted[pick], 5))
    assert ours.mean() == pytest.approx(np.mean(rows), abs=0.002)
    assert ours.std() == pytest.approx(np.std(rows), rel=0.06)
    assert (draws.real.sum(axis=1) == 400).all()


def test_a_95_percent_interval_covers_the_truth_about_95_times_in_100() -> None:
    covered = 0
    for seed in range(300):
        truth, predicted = _rows(200, 0.85, 4, seed)
        draws = intervals.draw_counts(truth, predicted, 4, resamples=300, seed=seed)
        figure = intervals.accuracy_figure(truth, predicted, draws)
        covered += figure.low <= 0.85 <= figure.high
    assert 0.90 <= covered / 300 <= 0.985


def test_a_perfect_score_on_few_rows_is_not_called_certain() -> None:
    truth = np.arange(12) % 3
    draws = intervals.draw_counts(truth, truth, 3, resamples=200, seed=0)
    accuracy = intervals.accuracy_figure(truth, truth, draws)
    assert accuracy.value == accuracy.high == 1.0
    assert accuracy.low == pytest.approx(intervals.wilson(12, 12)[0]) and accuracy.low < 0.8
    rare = intervals.class_f1_figures(truth, truth, 3, draws)[0]
    assert rare.n == 4 and rare.low < 0.6


def test_the_same_seed_gives_the_same_interval() -> None:
    truth, predicted = _rows(100, 0.7, 3, 5)
    first, second = (intervals.draw_counts(truth, predicted, 3, resamples=100, seed=9) for _ in range(2))
    assert (first.hits == second.hits).all()
    values = np.random.default_rng(0).random(50)
    assert intervals.mean_figure(values, resamples=100, seed=1) == intervals.mean_figure(values, resamples=100, seed=1)


def test_a_mean_has_the_interval_that_theory_gives() -> None:
    values = np.random.default_rng(4).normal(3.0, 2.0, 2000)
    figure = intervals.mean_figure(values, resamples=2000, seed=1)
    assert figure.value == pytest.approx(values.mean())
    assert figure.high - figure.low == pytest.approx(2 * 1.96 * 2.0 / np.sqrt(2000), rel=0.08)


def test_chunks_do_not_change_the_shape_of_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "_CHUNK", 150)
    figure = intervals.mean_figure(np.linspace(0, 1, 40), resamples=101, seed=0)
    assert figure.low < 0.5 < figure.high


def test_a_model_that_shares_the_mistakes_of_the_other_has_a_narrow_difference() -> None:
    truth, predicted = _rows(500, 0.8, 4, 7)
    same = intervals.paired_differences(truth, predicted, predicted, 4, resamples=200)
    assert same["accuracy"].to_json() == {"value": 0.0, "low": 0.0, "high": 0.0, "n": 500}
    better = predicted.copy()
    better[:120] = truth[:120]
    gain = intervals.paired_differences(truth, better, predicted, 4, resamples=200)
    assert gain["accuracy"].low > 0 and gain["macro_f1"].low > 0
    loss = intervals.paired_differences(truth, predicted, better, 4, resamples=200)
    assert loss["macro_f1"].value == pytest.approx(-gain["macro_f1"].value)


def test_unknown_labels_are_mistakes_of_both() -> None:
    truth = np.array([-1] * 10 + [0] * 10)
    figures = intervals.paired_differences(truth, np.zeros(20, int), np.ones(20, int), 2, resamples=100)
    assert figures["accuracy"].value == 0.5
