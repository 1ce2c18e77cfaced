"""The rule of turns by itself: what it promises over many starts, whoever asks for how much."""

import heapq
import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.fairness import HALF_LIFE_SECONDS, Claimant, faded, settled

LENGTHS = st.lists(st.floats(0.05, 0.3), min_size=1, max_size=5)
HOUR = 3600.0


def played(weights: list[int], lengths: list[list[float]], *, places: int, hours: float) -> list[float]:
    """Machine time in hours of tenants who always have a job waiting, the lengths of their jobs in turn. Estimates are
    half of what a job takes."""
    used, at, had = [0.0] * len(weights), 0.0, [0.0] * len(weights)
    jobs = [itertools.cycle(one) for one in lengths]
    ends: list[tuple[float, int, float]] = []
    while at < hours:
        if len(ends) == places:
            end, i, length = heapq.heappop(ends)
            used = [faded(one, (end - at) * HOUR) for one in used]
            used[i] += settled(length / 2 * HOUR * 1000, length * HOUR * 1000)
            had[i] += length
            at = end
        i = min((Claimant(i, used[i], weight, 0) for i, weight in enumerate(weights)), key=lambda one: one.turn).tenant
        length = next(jobs[i])
        used[i] += length / 2 * HOUR * 1000
        heapq.heappush(ends, (at + length, i, length))
    return had


@settings(max_examples=20)
@given(st.lists(LENGTHS, min_size=2, max_size=6), st.integers(1, 8))
def test_tenants_of_equal_weight_get_equal_machine_time_however_long_their_jobs(
    lengths: list[list[float]], places: int
) -> None:
    had = played([1] * len(lengths), lengths, places=places, hours=200)
    assert max(had) - min(had) <= 0.05 * max(had) + places * max(map(max, lengths))


@settings(max_examples=12)
@given(st.integers(2, 8), st.integers(1, 4))
def test_weight_gets_its_multiple(weight: int, places: int) -> None:
    light, heavy = played([1, weight], [[0.2], [0.2]], places=places, hours=300)
    assert heavy / light == pytest.approx(weight, rel=0.1)


@settings(max_examples=10)
@given(st.integers(2, 50))
def test_cutting_a_job_into_pieces_gains_nothing(pieces: int) -> None:
    whole, cut = played([1, 1], [[1.0], [1.0 / pieces]], places=4, hours=100)
    assert cut <= 1.05 * whole + 4


def test_a_newcomer_goes_before_everybody_who_has_had_something() -> None:
    old = [Claimant(number, 1.0 + number, 4, 0) for number in range(20)]
    assert min([*old, Claimant(99, 0.0, 1, 10**9)], key=lambda one: one.turn).tenant == 99


@given(st.lists(st.tuples(st.floats(0, 1e9), st.integers(0, 64), st.integers(0, 5)), min_size=1, max_size=30))
def test_the_order_is_total_and_does_not_depend_on_who_is_asked_first(rows: list[tuple[float, int, int]]) -> None:
    claimants = [Claimant(number, used, weight, since) for number, (used, weight, since) in enumerate(rows)]
    shuffled = random.Random(len(rows)).sample(claimants, len(claimants))
    order = [one.tenant for one in sorted(claimants, key=lambda one: one.turn)]
    assert order == [one.tenant for one in sorted(shuffled, key=lambda one: one.turn)]


def test_a_half_life_halves() -> None:
    assert faded(800.0, HALF_LIFE_SECONDS) == pytest.approx(400.0)
    assert faded(800.0, -5.0) == 800.0
