"""The verdict on a candidate: right about what is worse, and seldom wrong about what is not, however often it looks."""

import random
from math import inf, isnan, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.verdict import Arm, Guards, enough, judge, log_evidence

counts = st.integers(0, 5_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


def false_alarms(rate: float, *, share: float, runs: int, calls: int, alpha: float, margin: float = 0.0) -> float:
    """How often two equal arms are told apart, looking after every fifth call."""
    drawn, alarms = random.Random(7), 0
    for _ in range(runs):
        worse, than = [0, 0], [0, 0]
        for call in range(calls):
            arm, its_rate = (worse, rate + margin) if drawn.random() < share else (than, rate)
            arm[0] += drawn.random() < its_rate
            arm[1] += 1
            if call % 5 == 0 and log_evidence((worse[0], worse[1]), (than[0], than[1]), margin) >= log(1 / alpha):
                alarms += 1
                break
    return alarms / runs


@pytest.mark.parametrize(("rate", "share"), [(0.0, 0.05), (0.01, 0.05), (0.05, 0.5), (0.5, 0.5), (1.0, 0.25)])
def test_equal_arms_are_seldom_told_apart_whatever_their_rate(rate: float, share: float) -> None:
    """With alpha 0.1 a right test stays under 0.1, however often it looks."""
    assert false_alarms(rate, share=share, runs=300, calls=500, alpha=0.1) <= 0.1


def test_a_candidate_at_its_margin_is_no_worse() -> None:
    assert false_alarms(0.05, share=0.5, runs=200, calls=500, alpha=0.1, margin=0.05) <= 0.1


def test_the_naive_test_does_raise_false_alarms_here() -> None:
    """The simulation is able to find a test that is wrong: the likelihood ratio without its price."""
    drawn, alarms = random.Random(7), 0
    for _ in range(200):
        worse, than = [0, 0], [0, 0]
        for call in range(500):
            arm = worse if drawn.random() < 0.5 else than
            arm[0] += drawn.random() < 0.05
            arm[1] += 1
            if call < 50 or call % 5:
                continue
            p1, p0, p = worse[0] / worse[1], than[0] / than[1], (worse[0] + than[0]) / (worse[1] + than[1])
            spread = (p * (1 - p) * (1 / worse[1] + 1 / than[1])) ** 0.5
            if spread and (p1 - p0) / spread > 1.2816:  # the one-sided ten per cent
                alarms += 1
                break
    assert alarms / 200 > 0.2


@pytest.mark.parametrize(
    ("stable", "candidate"),
    [
        (Arm(calls=10), Arm(calls=10, errors=10)),
        (Arm(calls=500, errors=2), Arm(calls=60, errors=12)),
        (Arm(calls=20_000, errors=20), Arm(calls=1_000, errors=20)),
    ],
)
def test_a_candidate_that_fails_much_more_is_rolled_back(stable: Arm, candidate: Arm) -> None:
    assert judge(stable=stable, candidate=candidate, guards=Guards()).why == "errors"


def test_a_better_or_equal_candidate_is_left_alone() -> None:
    for stable, candidate in [
        (Arm(calls=100, errors=50), Arm(calls=100, errors=0)),
        (Arm(calls=1_000, errors=10), Arm(calls=1_000, errors=10)),
        (Arm(), Arm(calls=100, errors=100)),
        (Arm(calls=100), Arm()),
    ]:
        assert judge(stable=stable, candidate=candidate, guards=Guards()).why == ""


def test_wrong_answers_count_like_errors_and_only_where_somebody_judged() -> None:
    stable, candidate = Arm(calls=500, judged=60, wrong=6), Arm(calls=500, judged=60, wrong=40)
    assert judge(stable=stable, candidate=candidate, guards=Guards()).why == "quality"
    assert judge(stable=stable, candidate=candidate, guards=Guards(quality_margin=0.5)).why == ""
    assert judge(stable=stable, candidate=Arm(calls=500), guards=Guards()).why == ""


def test_slow_calls_count_only_against_a_limit() -> None:
    slow = Arm(calls=200, slow=60, timed=200)
    assert judge(stable=Arm(calls=200), candidate=slow, guards=Guards(limits_latency=True)).why == "latency"
    assert judge(stable=Arm(calls=200), candidate=slow, guards=Guards()).why == ""
    few = Arm(calls=200, slow=10, timed=200)
    assert judge(stable=Arm(calls=200), candidate=few, guards=Guards(limits_latency=True)).why == ""


def test_all_rounds_and_tests_together_spend_alpha() -> None:
    spent = sum(3 / enough(0.01, round) for round in range(1, 10_000))
    assert 0.0099 < spent <= 0.01


@given(counts, counts, st.floats(0, 0.5))
def test_evidence_is_a_number_for_any_counts(worse: tuple[int, int], than: tuple[int, int], margin: float) -> None:
    found = log_evidence(worse, than, margin)
    assert found < inf
    assert not isnan(found)


@given(counts, counts)
def test_only_one_side_can_be_worse(one: tuple[int, int], other: tuple[int, int]) -> None:
    assert min(log_evidence(one, other), log_evidence(other, one)) <= 1e-9


@given(counts, counts, st.floats(0, 0.4), st.floats(0.001, 0.1))
def test_a_larger_margin_excuses_more(
    worse: tuple[int, int], than: tuple[int, int], margin: float, more: float
) -> None:
    assert log_evidence(worse, than, margin + more) <= log_evidence(worse, than, margin) + 1e-6
