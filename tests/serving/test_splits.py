"""Which caller gets the candidate: the right share of them, always the same ones, and never one back."""

from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from kit.ids import new_id
from serving.splits import WHOLE, Split, place

ROLLOUT = new_id()
nobody: Any = SimpleNamespace()


def split(share: int) -> Split:
    return Split(ROLLOUT, "triage@prod", share, False, nobody)


@given(st.text(), st.integers(0, WHOLE), st.integers(0, WHOLE))
def test_raising_the_share_takes_no_caller_back(key: str, one: int, other: int) -> None:
    low, high = sorted((one, other))
    assert not split(low).takes(key) or split(high).takes(key)
    assert split(one).takes(key) == split(one).takes(key)


@given(st.text())
def test_nothing_is_nobody_and_all_is_everybody(key: str) -> None:
    assert not split(0).takes(key)
    assert split(WHOLE).takes(key)


def test_shares_are_right() -> None:
    callers = [f"caller {i}" for i in range(40_000)]
    for share in (100, 500, 2_500, 5_000):
        taken = sum(split(share).takes(caller) for caller in callers) / len(callers)
        expected = share / WHOLE
        assert abs(taken - expected) < 5 * (expected * (1 - expected) / len(callers)) ** 0.5


def test_another_rollout_draws_other_callers() -> None:
    other = new_id()
    callers = [f"caller {i}" for i in range(4_000)]
    both = sum(place(ROLLOUT, one) < 5_000 and place(other, one) < 5_000 for one in callers)
    assert 900 < both < 1_100
