"""Bins and the calibration error."""

import numpy as np
import pytest

from evaluation.calibration import expected_calibration_error, reliability_bins
from evaluation.intervals import ece_figure


def test_bins_hold_every_row_and_their_means() -> None:
    confidence = np.array([0.05, 0.1, 0.95, 1.0])
    bins = reliability_bins(confidence, np.array([False, True, True, True]), bins=10)
    assert [item.n for item in bins] == [2, 0, 0, 0, 0, 0, 0, 0, 0, 2]
    assert bins[0].confidence == pytest.approx(0.075) and bins[0].accuracy == 0.5
    assert (bins[-1].low, bins[-1].high) == (0.9, 1.0)


def test_the_error_is_the_mean_gap_weighted_by_rows() -> None:
    confidence, correct = np.array([0.9] * 10 + [0.6] * 10), np.array([True] * 9 + [False] + [True] * 10)
    assert expected_calibration_error(confidence, correct) == pytest.approx(0.5 * 0.0 + 0.5 * 0.4)


def test_an_honest_model_has_nearly_none_and_a_boaster_much() -> None:
    rng = np.random.default_rng(1)
    confidence = rng.uniform(0.3, 1.0, 20_000)
    correct = rng.random(20_000) < confidence
    assert expected_calibration_error(confidence, correct) < 0.015
    boast = np.minimum(1.0, confidence + 0.2)
    figure = ece_figure(boast, correct, resamples=100, seed=0)
    assert 0.1 < figure.low < figure.value <= figure.high
    assert figure.n == 20_000


def test_no_rows_give_zero() -> None:
    none = np.array([])
    assert expected_calibration_error(none, none.astype(bool)) == 0.0
    assert ece_figure(none, none.astype(bool), resamples=100, seed=0).n == 0
