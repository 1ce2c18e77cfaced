"""The rule of turns by itself: what it promises over many starts, whoever asks for how much."""

import heapq
import itertools
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.scheduling.fairness import HALF_LIFE_SECONDS, faded, settled
from training.scheduling.picture import Head, Picture, Share

LENGTHS = st.lists(st.floats(0.05, 0.3), min_size=1, max_size=5)
HOUR = 3600.0


def turns(shares: list[Share], heads: list[Head] | None = None) -> list[Any]:
    """Tenants in the order of their turns, each with one waiting job."""
    waiting = heads or [Head(share.tenant, share.tenant, 60.0) for share in shares]
    picture = Picture({share.tenant: share for share in shares}, waiting)
    return [head.tenant for head in sorted(picture.heads, key=picture.turn)]


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
        i = turns([Share(i, weight=weight, used_ms=used[i]) for i, weight in enumerate(weights)])[0]
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
    old = [Share(number, weight=4, used_ms=1.0 + number) for number in range(20)]
    assert turns([*old, Share(99)])[0] == 99


@given(st.lists(st.tuples(st.floats(0, 1e9), st.integers(0, 64), st.integers(0, 5)), min_size=1, max_size=30))
def test_the_order_is_total_and_does_not_depend_on_who_is_asked_first(rows: list[tuple[float, int, int]]) -> None:
    shares = [Share(number, weight=weight, used_ms=used) for number, (used, weight, _) in enumerate(rows)]
    heads = [Head(number, number, 60.0, since=since) for number, (_, _, since) in enumerate(rows)]
    shuffled = random.Random(len(rows)).sample(heads, len(heads))
    assert turns(shares, heads) == turns(shares, shuffled)


def test_a_half_life_halves() -> None:
    assert faded(800.0, HALF_LIFE_SECONDS) == pytest.approx(400.0)
    assert faded(800.0, -5.0) == 800.0
