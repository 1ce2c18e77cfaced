"""The verdict on a candidate: right about what is worse, and seldom wrong about what is not, however often it looks."""

import random
from math import inf, isnan, log
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.verdict import Arm, Guards, enough, judge, log_evidence, mean_evidence

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
    assert judge([(stable, candidate)], Guards()).why == "errors"


def test_a_better_or_equal_candidate_is_left_alone() -> None:
    for stable, candidate in [
        (Arm(calls=100, errors=50), Arm(calls=100, errors=0)),
        (Arm(calls=1_000, errors=10), Arm(calls=1_000, errors=10)),
        (Arm(), Arm(calls=100, errors=100)),
        (Arm(calls=100), Arm()),
    ]:
        assert judge([(stable, candidate)], Guards()).why == ""


def test_wrong_answers_count_like_errors_and_only_where_somebody_judged() -> None:
    stable, candidate = Arm(calls=500, judged=60, wrong=6), Arm(calls=500, judged=60, wrong=40)
    assert judge([(stable, candidate)], Guards()).why == "quality"
    assert judge([(stable, candidate)], Guards(quality_margin=0.5)).why == ""
    assert judge([(stable, Arm(calls=500))], Guards()).why == ""


def test_slow_calls_count_only_against_a_limit() -> None:
    slow = Arm(calls=200, slow=60, timed=200)
    assert judge([(Arm(calls=200), slow)], Guards(limits_latency=True)).why == "latency"
    assert judge([(Arm(calls=200), slow)], Guards()).why == ""
    few = Arm(calls=200, slow=10, timed=200)
    assert judge([(Arm(calls=200), few)], Guards(limits_latency=True)).why == ""


def test_all_rounds_and_tests_together_spend_alpha() -> None:
    """The most that a mean of e-processes can be while each of them stands at 1."""
    assert 0.999 < mean_evidence([0.0] * 10_000) <= 1
    assert enough(0.01) == 300


def delayed(*, runs: int, calls: int, early: float, late: float, seed: int, rates: tuple[float, float, float]) -> Any:
    """Words about equal arms over three rounds whose shares grow, in the order they arrive, as counts by round: the
    rate of wrong answers differs by round, a word takes up to two rounds to come, and a complaint takes longer."""
    drawn = random.Random(seed)
    for _ in range(runs):
        words = []
        for call in range(calls):
            round = 3 * call // calls
            arm = int(drawn.random() < (0.05, 0.5, 0.9)[round])
            wrong = drawn.random() < rates[round]
            words.append((call + drawn.random() * calls * (late if wrong else early), round, arm, wrong))
        counts = [[[0, 0], [0, 0]] for _ in range(3)]
        looks = []
        for number, (_, round, arm, wrong) in enumerate(sorted(words)):
            counts[round][arm][0] += wrong
            counts[round][arm][1] += 1
            if number % 5 == 0:
                looks.append([[tuple(arm) for arm in one] for one in counts])
        yield looks


SHAPES = [
    {"early": 0.0, "late": 0.0, "rates": (0.05, 0.05, 0.05)},
    {"early": 0.3, "late": 0.7, "rates": (0.1, 0.3, 0.6)},
    {"early": 0.7, "late": 0.7, "rates": (0.6, 0.2, 0.05)},
]


@pytest.mark.parametrize("shape", SHAPES)
def test_late_words_in_rounds_of_their_own_raise_few_false_alarms(shape: Any) -> None:
    """With alpha 0.1 a right test stays under 0.1, however late words come and however often it looks."""
    alarms = sum(
        any(mean_evidence([log_evidence(new, old) for old, new in look]) >= 1 / 0.1 for look in looks)
        for looks in delayed(runs=200, calls=600, seed=7, **shape)
    )
    assert alarms / 200 <= 0.1


def test_words_of_all_rounds_thrown_together_would_raise_many() -> None:
    """The simulation is able to find a test that is wrong: later rounds are worse for both, and larger for one."""
    alarms = 0
    for looks in delayed(runs=200, calls=600, seed=7, **SHAPES[1]):
        alarms += any(log_evidence(_sum(look, 1), _sum(look, 0)) >= log(1 / 0.1) for look in looks)
    assert alarms / 200 > 0.5


def _sum(look: Any, arm: int) -> tuple[int, int]:
    return sum(one[arm][0] for one in look), sum(one[arm][1] for one in look)


def test_words_that_come_late_convict_in_the_round_of_their_calls() -> None:
    before = (Arm(calls=400, judged=10), Arm(calls=100, judged=8))
    late = (Arm(calls=400, judged=80, wrong=4), Arm(calls=100, judged=60, wrong=30))
    now = (Arm(calls=50), Arm(calls=50))
    assert judge([before, now], Guards()).why == ""
    verdict = judge([late, now], Guards())
    assert (verdict.why, verdict.findings[-1].round) == ("quality", 1)


def test_evidence_of_rounds_adds_up() -> None:
    """Neither round would do by itself."""
    one = (Arm(calls=100, errors=1), Arm(calls=50, errors=12))
    assert judge([one], Guards()).why == ""
    assert judge([(Arm(), Arm()), one], Guards()).why == ""
    assert judge([one, one], Guards()).why == "errors"


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=20))
def test_the_mean_convinces_no_later_than_a_test_for_each_round(logarithms: list[float]) -> None:
    alone = any(one >= log(enough(0.01) * n * (n + 1)) for n, one in enumerate(logarithms, 1))
    assert not alone or mean_evidence(logarithms) >= enough(0.01) * (1 - 1e-9)


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
