"""The health score: its weights, its bounds, and that no good news ever lowers it."""

import dataclasses
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from customers.health import BANDS, FAIR_FROM, GOOD_FROM, WEIGHTS, Facts, health

DAYS = st.one_of(st.none(), st.integers(0, 400))
COUNTS = st.integers(0, 10**9)


@st.composite
def facts(draw: st.DrawFn) -> Facts:
    ended = draw(st.integers(0, 10**6))
    return Facts(
        age_days=draw(st.integers(0, 5000)),
        days_since_call=draw(DAYS),
        calls=draw(COUNTS),
        calls_before=draw(COUNTS),
        live_deployments=draw(st.integers(0, 50)),
        jobs_ended=ended,
        jobs_failed=draw(st.integers(0, ended)),
        standing=draw(st.sampled_from(["good", "grace", "restricted", "suspended"])),
        waiting_days=draw(DAYS),
        satisfaction=draw(st.one_of(st.none(), st.fractions(0, 10))),
    )


def test_the_weights_are_those_that_the_docs_name() -> None:
    assert sum(WEIGHTS.values()) == 110 and min(WEIGHTS.values()) > 0


@given(facts())
def test_the_score_is_the_weighted_mean_of_its_reasons(one: Facts) -> None:
    found = health(one)
    assert found.band in BANDS
    assert all(0 <= part.share <= 1 for part in found.parts)
    if found.score is None:
        assert one.age_days < 14 and one.days_since_call is None
        return
    whole = sum(part.weight for part in found.parts)
    mean = 100 * sum(part.share * part.weight for part in found.parts) / whole
    assert found.score == int(mean) and 0 <= found.score <= 100
    assert found.band == ("good" if found.score >= GOOD_FROM else "fair" if found.score >= FAIR_FROM else "poor")
    lost = [(1 - part.share) * part.weight for part in found.parts]
    assert lost == sorted(lost, reverse=True), "the heaviest loss stands first"


BETTER = {
    "a call sooner": lambda f: {"days_since_call": None if f.days_since_call is None else f.days_since_call // 2},
    "more calls": lambda f: {"calls": f.calls + 1} if f.calls_before else {},
    "fewer calls before": lambda f: {"calls_before": max(1, f.calls_before // 2)} if f.calls_before else {},
    "one more deployed": lambda f: {"live_deployments": f.live_deployments + 1},
    "one job less failed": lambda f: {"jobs_failed": max(0, f.jobs_failed - 1)},
    "paid": lambda f: {"standing": "good"},
    "answered": lambda f: {"waiting_days": None},
    "answered sooner": lambda f: {"waiting_days": None if f.waiting_days is None else f.waiting_days // 2},
    "happier": lambda f: {"satisfaction": None if f.satisfaction is None else (f.satisfaction + 10) / 2},
}


@pytest.mark.parametrize("news", BETTER)
@given(one=facts())
def test_good_news_never_lowers_the_score(news: str, one: Facts) -> None:
    before, after = health(one).score, health(dataclasses.replace(one, **BETTER[news](one))).score
    assert before is None or (after is not None and after >= before)


def test_known_customers_fare_as_expected() -> None:
    well = Facts(
        age_days=400, days_since_call=0, calls=900, calls_before=800, live_deployments=2, jobs_ended=4, jobs_failed=0
    )
    assert (health(well).score, health(well).band) == (100, "good")
    silent = dataclasses.replace(well, days_since_call=60, calls=0)
    assert (health(silent).score, health(silent).band) == (50, "fair")
    assert [part.name for part in health(silent).parts][:2] == ["recency", "trend"]
    gone = dataclasses.replace(silent, live_deployments=0, standing="restricted")
    assert (health(gone).score, health(gone).band) == (20, "poor")
    assert health(Facts(age_days=3)).score is None
    assert health(Facts(age_days=30)).band == "poor"
    half = health(dataclasses.replace(well, satisfaction=Fraction(5)))
    assert half.score == 95
