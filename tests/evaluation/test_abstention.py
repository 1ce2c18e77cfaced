"""The promise of abstention, against the truth of synthetic populations."""

import json

import numpy as np
import pytest
from scipy.stats import binom

from evaluation.abstention import CONFIDENCE, STEPS, candidates, lower_bound, table
from evaluation.curves import Scored

DRAWS = 400


def _draw(rng: np.random.Generator, n: int, power: float) -> tuple[Scored, np.ndarray]:
    """Rows of a two-class model that says p for its likeliest label and is right with the chance p ** power."""
    said = rng.uniform(0.5, 1.0, n)
    right = rng.random(n) < said**power
    return Scored(np.where(right, 0, 1), np.column_stack([said, 1 - said])), said


def _precision_above(threshold: float, power: float) -> float:
    """The true share right among what reaches a threshold: the mean of p ** power from there to 1."""
    low = max(threshold, 0.5)
    if low >= 1:
        return 1.0
    return float((1 - low ** (power + 1)) / (power + 1) / (1 - low))


@pytest.mark.parametrize(("n", "power"), [(60, 1.0), (400, 1.0), (400, 3.0), (3000, 0.3)])
def test_all_promises_of_a_table_hold_together_as_often_as_it_says(n: int, power: float) -> None:
    rng = np.random.default_rng(int(n * power))
    broken = 0
    for _ in range(DRAWS):
        found = table(_draw(rng, 200, power)[0], _draw(rng, n, power)[0])
        broken += any(p["at_least"] > _precision_above(p["threshold"], power) for p in found["points"])
    allowed = binom.ppf(0.999, DRAWS, 1 - CONFIDENCE)
    assert broken <= allowed, f"{broken} of {DRAWS} tables promised too much"


def test_a_precision_chosen_after_looking_is_kept_as_often_as_it_says() -> None:
    """Whoever takes the highest bound of each table, the worst way to choose, is wrong in at most one of twenty."""
    rng, wrong = np.random.default_rng(7), 0
    for _ in range(DRAWS):
        points = table(_draw(rng, 200, 2.0)[0], _draw(rng, 300, 2.0)[0])["points"]
        best = max(points, key=lambda point: point["at_least"])
        wrong += best["at_least"] > _precision_above(best["threshold"], 2.0)
    assert wrong <= binom.ppf(0.999, DRAWS, 1 - CONFIDENCE)


def test_the_bound_is_not_so_careful_that_it_is_of_no_use() -> None:
    rng = np.random.default_rng(3)
    points = table(_draw(rng, 1000, 1.0)[0], _draw(rng, 5000, 1.0)[0])["points"]
    gaps = [_precision_above(point["threshold"], 1.0) - point["at_least"] for point in points]
    assert max(gaps) < 0.06
    assert [point["threshold"] for point in points] == sorted({point["threshold"] for point in points})
    assert points[0]["threshold"] == 0 and points[0]["coverage"] == 1


@pytest.mark.parametrize(("right", "n"), [(0, 10), (10, 10), (95, 100), (1, 3), (2990, 3000)])
def test_the_bound_is_the_binomials_own(right: int, n: int) -> None:
    bound = lower_bound(right, n, 0.01)
    if right:
        assert binom.sf(right - 1, n, bound) == pytest.approx(0.01)
    else:
        assert bound == 0


def test_odd_rows_make_a_table_that_promises_little_and_never_fails() -> None:
    one = Scored(np.array([0]), np.array([[1.0, 0.0]]))
    found = table(one, one)
    json.dumps(found, allow_nan=False)
    assert found["points"] == [
        {"threshold": 0.0, "n": 1, "right": 1, "precision": 1.0, "at_least": 0.05, "coverage": 1.0}
    ], "one row, one threshold, and the bound of one right in one"
    unseen = Scored(np.array([-1, -1]), np.array([[0.9, 0.1], [0.8, 0.2]]))
    assert all(point["right"] == 0 and point["at_least"] == 0 for point in table(one, unseen)["points"])
    assert candidates(np.full(50, 0.7)) == [0.0, 0.7]
    assert len(candidates(np.linspace(0.5, 1, 1000))) == STEPS
    few = Scored(np.zeros(70, np.int64), np.column_stack([np.linspace(0.6, 0.99, 70), np.linspace(0.4, 0.01, 70)]))
    points = table(few, few)["points"]
    assert len(points) == 3 and min(point["n"] for point in points) >= 20
