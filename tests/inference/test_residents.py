"""Memory: the least recently used goes first, and nobody falls below the floor for somebody else."""

from __future__ import annotations

import pytest

from inference.errors import NoRoom
from inference.residents import COPY, Resident, Residents


def resident(tenant: str, model: str, size: int, method: str = "head") -> Resident:
    return Resident(tenant, model, "", "base", method, [], 64, None, None, None, None, size)  # type: ignore[arg-type]


def names(residents: Residents) -> list[str]:
    return [one.model for one in residents.all()]


def test_the_least_recently_used_goes_first():
    residents = Residents(budget=30, floor=0)
    for model in ("a", "b", "c"):
        residents.add(resident("t", model, 10))
    residents.get("t", "a")
    residents.add(resident("t", "d", 10))
    assert names(residents) == ["c", "a", "d"]
    assert (residents.used, residents.evictions) == (30, 1)


def test_a_pinned_model_is_never_evicted_and_pins_have_a_budget_of_their_own():
    residents = Residents(budget=40, floor=0)
    for model in ("a", "b", "c", "d"):
        residents.add(resident("t", model, 10))
    residents.pin("t", "a")
    residents.pin("t", "b")
    with pytest.raises(NoRoom, match="Pinned models would take 30 bytes; they may take 20"):
        residents.pin("t", "c")
    residents.add(resident("u", "e", 10))
    assert names(residents) == ["a", "b", "d", "e"]
    with pytest.raises(NoRoom, match="may not be evicted"):
        residents.add(resident("u", "large", 30))
    residents.pin("t", "a", wanted=False)
    residents.add(resident("u", "f", 10))
    assert names(residents) == ["b", "d", "e", "f"]
    assert residents.remove("t", "b")
    assert not residents.pinned("t", "b")


def test_copies_go_before_models_even_within_a_floor():
    residents = Residents(budget=30, floor=20)
    residents.add(resident("t", "model", 10))
    residents.add(resident("t", "copy", 10, COPY))
    residents.get("t", "copy")
    residents.add(resident("u", "a", 20))
    assert names(residents) == ["model", "a"]


def test_one_tenants_models_do_not_push_another_below_its_floor():
    residents = Residents(budget=40, floor=10)
    residents.add(resident("small", "mine", 10))
    for i in range(10):
        residents.add(resident("big", f"m{i}", 10))
    assert residents.get("small", "mine") is not None
    assert len(names(residents)) == 4


def test_a_tenant_may_replace_its_own_models_even_within_its_floor():
    residents = Residents(budget=20, floor=20)
    residents.add(resident("t", "old", 15))
    residents.add(resident("t", "new", 15))
    assert names(residents) == ["new"]


def test_a_model_that_fits_nowhere_changes_nothing():
    residents = Residents(budget=20, floor=10)
    residents.add(resident("a", "one", 10))
    with pytest.raises(NoRoom):
        residents.add(resident("b", "two", 15))
    assert names(residents) == ["one"]
    assert residents.used == 10


def test_adding_a_model_again_counts_it_once():
    residents = Residents(budget=20, floor=0)
    residents.add(resident("t", "a", 15))
    residents.add(resident("t", "a", 18))
    assert residents.used == 18
    assert residents.remove("t", "a")
    assert not residents.remove("t", "a")
    assert residents.used == 0


def test_the_same_name_in_two_tenants_is_two_models():
    residents = Residents(budget=20, floor=0)
    residents.add(resident("a", "m", 5))
    residents.add(resident("b", "m", 6))
    assert residents.get("a", "m").bytes == 5
    assert residents.get("b", "m").bytes == 6
    assert residents.get("c", "m") is None
