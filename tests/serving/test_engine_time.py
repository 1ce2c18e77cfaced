"""Engine time adds up to the second, whatever looks are lost, doubled or late."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.engine_time import HOUR, MINUTE, Meter, Piece, close, look

BEGIN = 1_796_000_123
"""Neither a minute's beginning nor an hour's."""
engines = st.lists(st.tuples(st.integers(0, 9_000), st.integers(1, 9_000)), max_size=4)
"""When each is ready, in seconds after BEGIN, and for how long."""
ticks = st.lists(st.integers(1, 18_000), min_size=1, max_size=60, unique=True)


def seen(lives: Sequence[tuple[int, int]], at: int) -> dict[str, int]:
    """Who says at a moment that it is ready, and since when."""
    return {f"e{number}": BEGIN + up for number, (up, lasts) in enumerate(lives) if up <= at - BEGIN <= up + lasts}


def metered(lives: Sequence[tuple[int, int]], moments: Sequence[int]) -> tuple[Meter, list[Piece]]:
    meter, handed = Meter(BEGIN, BEGIN), []
    for at in moments:
        meter, pieces = look(meter, BEGIN + at, seen(lives, BEGIN + at))
        handed += pieces
    return meter, handed


def truth(lives: Sequence[tuple[int, int]], moments: Sequence[int]) -> int:
    """Each engine counts from its readiness to the last look that saw it: nobody vouches for more."""
    total = 0
    for up, lasts in lives:
        saw = [at for at in moments if up <= at <= up + lasts]
        total += max(saw) - up if saw else 0
    return total


@given(engines, ticks)
def test_seconds_add_up_whatever_looks_are_lost(lives, moments):
    meter, pieces = metered(lives, sorted(moments))
    left = close(meter)[1]
    assert sum(piece.seconds for piece in pieces + left) == truth(lives, moments)
    assert sum(piece.seconds for piece in pieces) + meter.open == truth(lives, moments)


@given(engines, ticks, st.randoms(use_true_random=False))
def test_doubled_and_late_looks_change_nothing(lives, moments, chance):
    told = [at for at in sorted(moments) for _ in range(chance.randint(1, 3))]
    for at in moments:  # and one comes again, after anything that was later
        told.insert(chance.randint(told.index(at), len(told)), at)
    applied, newest = [], 0
    for at in told:  # an earlier look than the newest is not taken: what it would add is in the newest one
        if at > newest:
            applied.append(at)
            newest = at
    assert metered(lives, told) == metered(lives, applied)
    assert applied == sorted(moments)


@given(engines, ticks)
def test_what_is_handed_out_is_whole_minutes_within_an_hour_and_each_second_once(lives, moments):
    meter, pieces = metered(lives, sorted(moments))
    for before, after in itertools.pairwise(pieces):
        assert before.end <= after.start, "in order, and none twice"
    for piece in pieces:
        assert piece.start < piece.end and piece.end % MINUTE == 0
        assert piece.start // HOUR == (piece.end - 1) // HOUR
        assert 0 < piece.seconds <= (piece.end - piece.start) * len(lives)
        exact = sum(
            max(0, min(piece.end, BEGIN + last) - max(piece.start, BEGIN + up))
            for up, last in ((up, last_look(up, lasts, moments)) for up, lasts in lives)
        )
        assert piece.seconds == exact, "each piece holds the seconds of its own time"
    assert meter.looked - meter.handed < MINUTE or not moments


def last_look(up: int, lasts: int, moments: Sequence[int]) -> int:
    return max((at for at in moments if up <= at <= up + lasts), default=up)


@pytest.mark.parametrize(
    ("looks", "counted"),
    [
        ([(10, {"a": 0}), (20, {"a": 0})], 20),
        ([(10, {"a": 0}), (20, {}), (30, {"a": 0})], 20),  # it hung at the second look: until the third it counts anew
        ([(10, {"a": 0, "b": 4}), (20, {"b": 4})], 26),  # a left unseen: until it was seen last
        ([(10, {}), (20, {"a": 25})], 0),  # its clock is ahead of ours
        ([(10, {}), (20, {"a": -500})], 10),  # it was ready all along, but not for us before the last look
        ([(3_600, {"a": 0})], 3_600),  # an hour without a look is not lost while the engine goes on
    ],
)
def test_by_hand(looks, counted):
    meter, handed = Meter(BEGIN, BEGIN), []
    for at, ready in looks:
        meter, pieces = look(meter, BEGIN + at, {name: BEGIN + since for name, since in ready.items()})
        handed += pieces
    assert sum(piece.seconds for piece in handed) + meter.open == counted


def test_closing_hands_out_the_rest_once():
    meter, pieces = look(Meter(0, 0), 59, {"a": 9})
    assert (meter, pieces) == (Meter(59, 0, 50), [])
    closed, left = close(meter)
    assert left == [Piece(0, 59, 50)] and close(closed) == (closed, [])
    with pytest.raises(ValueError, match="no time runs backwards"):
        Meter(1, 2)
