"""Costs of machines: whatever was used, what is laid on users and house is the cost, to the nano."""

import datetime as dt
import hashlib
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.economics.idle import Share, apportion, lay
from billing.prices import PriceError
from billing.prices.machines_file import CLASSES, FOLDER, machine_lists, machine_prices
from billing.services.machines import GAP_MS, HOUR_MS, spans

USES = st.dictionaries(st.text(max_size=3), st.integers(0, 10**12), max_size=12)
COST = st.integers(0, 10**16)


@given(COST, USES)
def test_parts_are_the_total_and_each_within_one_of_its_share(total: int, weights: dict[str, int]) -> None:
    parts = apportion(total, weights)
    whole = sum(weights.values())
    assert sum(parts.values()) == (total if whole else 0)
    for who, weight in weights.items():
        assert abs(parts[who] - (Fraction(total * weight, whole) if whole else 0)) < 1
        assert weight or not parts[who]


@given(COST, st.integers(0, 10**13), USES)
def test_own_use_and_idle_are_the_cost_under_both_rules(cost: int, capacity: int, uses: dict[str, int]) -> None:
    laid = lay(cost, capacity, uses)
    own = sum(share.own for share in laid.shares.values())
    assert own + laid.idle == cost == laid.cost
    assert sum(share.cost for share in laid.shares.values()) + laid.house == cost
    assert all(share.own >= 0 and share.idle >= 0 for share in laid.shares.values())
    used = sum(uses.values())
    assert laid.house == (0 if used else cost)
    if used >= capacity and used:
        assert laid.idle == 0
    elif used:
        assert abs(laid.idle - Fraction(cost * (capacity - used), capacity)) < 1


@given(COST, st.integers(1, 10**13), USES, st.sets(st.text(max_size=3)))
def test_groups_of_users_add_up_however_they_are_made(
    cost: int, capacity: int, uses: dict[str, int], group: set[str]
) -> None:
    laid = lay(cost, capacity, uses)
    one = sum((share for who, share in laid.shares.items() if who in group), Share())
    other = sum((share for who, share in laid.shares.items() if who not in group), Share())
    assert one.cost + other.cost + laid.house == cost


def test_a_case_by_hand() -> None:
    laid = lay(1000, 100, {"a": 30, "b": 10})
    assert laid.shares == {"a": Share(30, 300, 450), "b": Share(10, 100, 150)} and laid.idle == 600
    assert lay(1000, 100, {}).house == 1000 and lay(10, 5, {"a": 20}).shares["a"] == Share(20, 10, 0)


MOMENTS = st.lists(st.integers(0, 6 * HOUR_MS), min_size=1, max_size=40)


@given(MOMENTS)
def test_what_is_seen_is_the_time_between_looks_and_no_hour_has_more_than_an_hour(moments: list[int]) -> None:
    hours: dict[int, int] = {}
    looked: int | None = None
    expected = 0
    for at in moments:
        for hour, ms in spans(looked, at):
            assert ms >= 0 and hour % HOUR_MS == 0
            hours[hour] = hours.get(hour, 0) + ms
        if looked is not None and 0 < at - looked <= GAP_MS:
            expected += at - looked
        looked = at if looked is None else max(looked, at)
    assert sum(hours.values()) == expected and all(ms <= HOUR_MS for ms in hours.values())


def test_the_list_in_force_prices_every_class_to_the_millisecond() -> None:
    prices = machine_prices(int(dt.datetime(2026, 11, 30, tzinfo=dt.UTC).timestamp() * 1000))
    assert set(prices.ms_nano) == set(CLASSES) and prices.ms_nano["engine"] * HOUR_MS == 216_000_000
    with pytest.raises(PriceError, match="no list"):
        machine_prices(0)


def test_a_list_that_was_changed_or_lost_or_is_none_is_refused(tmp_path: Path) -> None:
    file = next(FOLDER.glob("*.toml"))
    good = file.read_text()

    def folder(name: str, content: str, listed: str | None = None) -> Path:
        made = tmp_path / name
        made.mkdir()
        (made / file.name).write_text(content)
        digest = hashlib.sha256((listed or content).encode()).hexdigest()
        (made / "SHA256SUMS").write_text(f"{digest}  {file.name}\n")
        return made

    with pytest.raises(PriceError, match="differs from what was published"):
        machine_lists(folder("changed", good + "\n", good))
    with pytest.raises(PriceError, match="a millisecond"):
        machine_lists(folder("odd", good.replace("108_000_000", "108_000_001")))
    with pytest.raises(PriceError, match="other classes"):
        machine_lists(folder("more", good.replace("engine_own", "engine_owned")))
    with pytest.raises(PriceError, match="names itself"):
        machine_lists(folder("name", good.replace('"2026-11-30"', '"2026-12-01"')))
    lost = folder("lost", good)
    (lost / file.name).unlink()
    with pytest.raises(PriceError, match="are gone"):
        machine_lists(lost)
