"""The rules of sweeps: what is tried, in which order, and never for more than the budget."""

import itertools
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.searching import rules, space
from training.searching.rules import Plan, Trial
from training.searching.rungs import ETA, rungs_of

LISTS = {"x_method": ["head", "lora"], "n_epochs": [1, 2, 3], "batch_size": [16, 32]}
RANGES = {
    "learning_rate_multiplier": {"min": 0.1, "max": 10.0, "scale": "log"},
    "batch_size": {"min": 8, "max": 64, "scale": "log"},
    "n_epochs": {"min": 1, "max": 5, "scale": "linear"},
}

axes = st.fixed_dictionaries(
    {},
    optional={
        "x_method": st.lists(st.sampled_from(["head", "lora", "full"]), min_size=1, unique=True),
        "x_lora_rank": st.one_of(
            st.lists(st.integers(1, 64), min_size=1, max_size=4, unique=True),
            st.integers(1, 32).map(lambda low: {"min": low, "max": low + 32, "scale": "log"}),
        ),
        "n_epochs": st.lists(st.integers(1, 50), min_size=1, max_size=6, unique=True),
        "batch_size": st.integers(1, 200).map(lambda low: {"min": low, "max": low + 56, "scale": "log"}),
        "learning_rate_multiplier": st.tuples(
            st.floats(0.001, 1, allow_subnormal=False), st.sampled_from(["linear", "log"])
        ).map(lambda drawn: {"min": drawn[0], "max": drawn[0] * 50, "scale": drawn[1]}),
    },
).filter(bool)


def test_a_grid_is_every_combination_with_the_last_axis_changing_fastest() -> None:
    found = space.grid(LISTS)
    assert len(found) == space.grid_size(LISTS) == 12
    assert found[:3] == [
        {"x_method": "head", "n_epochs": 1, "batch_size": 16},
        {"x_method": "head", "n_epochs": 1, "batch_size": 32},
        {"x_method": "head", "n_epochs": 2, "batch_size": 16},
    ]
    assert len({tuple(setting.items()) for setting in found}) == 12


def test_a_method_without_a_rank_is_tried_once_for_all_ranks() -> None:
    found = space.grid({"x_method": ["lora", "full"], "x_lora_rank": [4, 8], "batch_size": [16, 32]})
    assert found == [
        {"x_method": "lora", "x_lora_rank": 4, "batch_size": 16},
        {"x_method": "lora", "x_lora_rank": 4, "batch_size": 32},
        {"x_method": "lora", "x_lora_rank": 8, "batch_size": 16},
        {"x_method": "lora", "x_lora_rank": 8, "batch_size": 32},
        {"x_method": "full", "batch_size": 16},
        {"x_method": "full", "batch_size": 32},
    ]
    assert space.grid({"x_lora_rank": [4, 8]}) == [{"x_lora_rank": 4}, {"x_lora_rank": 8}], "LoRA is the default"


@given(axes.filter(lambda found: not space.ranges(found)))
def test_a_grid_has_as_many_settings_as_it_is_counted_to_have(found: dict[str, Any]) -> None:
    settings = space.grid(found)
    assert len(settings) == space.grid_size(found) == len({tuple(setting.items()) for setting in settings})


@given(axes, st.integers(2, 40), st.integers(0, 2**31))
def test_drawn_settings_lie_in_the_space_differ_and_follow_from_the_seed(
    found: dict[str, Any], trials: int, seed: int
) -> None:
    drawn = space.settings_of("random", found, trials=trials, seed=seed)
    assert drawn == space.settings_of("random", found, trials=trials, seed=seed)
    assert 1 <= len(drawn) <= trials
    assert len({tuple(setting.items()) for setting in drawn}) == len(drawn)
    for setting in drawn:
        ranked = {space.RANK} if space.has_rank(setting) else set()
        assert set(setting) == set(found) - {space.RANK} | (ranked & set(found))
        for name, value in setting.items():
            axis = found[name]
            if isinstance(axis, list):
                assert value in axis
            else:
                assert axis["min"] <= value <= axis["max"]
                assert isinstance(value, int) == (name in space.WHOLE)


def test_another_seed_draws_other_settings() -> None:
    one, other = (space.drawn(RANGES, trials=8, seed=seed) for seed in (1, 2))
    assert one != other and len(one) == len(other) == 8


def test_a_log_range_spends_half_its_draws_below_its_geometric_middle() -> None:
    drawn = space.drawn({"learning_rate_multiplier": RANGES["learning_rate_multiplier"]}, trials=1000, seed=5)
    below = sum(setting["learning_rate_multiplier"] < 1 for setting in drawn)
    assert 400 < below < 600


@pytest.mark.parametrize(
    ("trials", "epochs", "expected"),
    [
        (18, 9, [(18, 1), (6, 3), (2, 9)]),
        (27, 27, [(27, 1), (9, 3), (3, 9), (1, 27)]),
        (81, 9, [(81, 1), (27, 3), (9, 9)]),
        (3, 50, [(3, 16), (1, 50)]),
        (4, 3, [(4, 1), (1, 3)]),
        (7, None, [(7, None)]),
    ],
)
def test_rungs_keep_a_third_and_triple_the_passes(
    trials: int, epochs: int | None, expected: list[tuple[int, int | None]]
) -> None:
    assert [(rung.size, rung.epochs) for rung in rungs_of(trials, most_epochs=epochs)] == expected


@given(st.integers(3, 100), st.integers(3, 50))
def test_the_last_rung_has_all_passes_and_no_rung_is_empty(trials: int, epochs: int) -> None:
    found = rungs_of(trials, most_epochs=epochs)
    assert found[0].size == trials and found[-1].epochs == epochs and len(found) >= 2
    for one, following in itertools.pairwise(found):
        assert following.size == one.size // ETA >= 1 and 1 <= (one.epochs or 0) < (following.epochs or 0)


# ── A sweep played out ──


class Play:
    """A sweep with trials that end as chance has it: what they cost and score, and in which order they end."""

    def __init__(self, plan: Plan, seed: int, *, failing: float = 0.2) -> None:
        self.plan, self.chance, self.failing = plan, random.Random(seed), failing
        self.trials: list[Trial] = []

    def look(self) -> rules.Move:
        """One look of the sweep; what it starts is there afterwards."""
        move = rules.decide(self.plan, self.trials)
        for start in move.starts:
            assert start.ceiling == self.plan.ceilings[start.number][start.rung]
            self.trials.append(Trial(start.rung, start.number, True, None, start.ceiling))
        self.check()
        return move

    def end_one(self) -> None:
        """Some open trial ends."""
        place = self.chance.choice([index for index, trial in enumerate(self.trials) if trial.open])
        trial = self.trials[place]
        failed = self.chance.random() < self.failing
        cost = 0 if failed else self.chance.randint(0, trial.committed)
        score = None if failed else self.chance.random()
        self.trials[place] = Trial(trial.rung, trial.number, False, score, cost)
        self.check()

    def check(self) -> None:
        """What holds at every moment."""
        assert sum(trial.committed for trial in self.trials) <= self.plan.budget
        assert sum(trial.open for trial in self.trials) <= self.plan.parallel
        assert len({(trial.rung, trial.number) for trial in self.trials}) == len(self.trials)

    def run(self) -> str:
        """To the end; its reason."""
        for _ in range(2000):
            move = self.look()
            if move.ending:
                assert not any(trial.open for trial in self.trials)
                return move.ending
            assert rules.decide(self.plan, self.trials).starts == (), "a second look starts nothing"
            if not move.starts or self.chance.random() < 0.5:
                self.end_one()
        raise AssertionError("it never ends")


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    count = draw(st.integers(1, 20))
    rungs = rungs_of(count, most_epochs=draw(st.sampled_from([None, 3, 9])))
    chance = random.Random(draw(st.integers(0, 2**31)))
    ceilings = [[chance.randint(0, 1000) for _ in rungs] for _ in range(count)]
    return Plan(
        sizes=[rung.size for rung in rungs],
        ceilings=ceilings,
        budget=draw(st.integers(0, 12_000)),
        parallel=draw(st.integers(1, 5)),
    )


@given(plans(), st.integers(0, 2**31))
def test_whatever_happens_the_budget_holds_no_trial_comes_twice_and_it_ends(plan: Plan, seed: int) -> None:
    play = Play(plan, seed)
    ending = play.run()
    if ending == rules.COMPLETE:
        assert {trial.number for trial in play.trials if trial.rung == 0} == set(range(plan.sizes[0]))
    else:
        assert ending == rules.BUDGET
        spent = sum(trial.committed for trial in play.trials)
        assert any(spent + ceiling > plan.budget for row in plan.ceilings for ceiling in row)


@given(plans(), st.integers(0, 2**31))
def test_a_later_rung_holds_only_the_best_of_the_one_before(plan: Plan, seed: int) -> None:
    play = Play(plan, seed)
    play.run()
    for rung in range(1, len(plan.sizes)):
        before = {trial.number: trial.score for trial in play.trials if trial.rung == rung - 1}
        entered = [trial.number for trial in play.trials if trial.rung == rung]
        assert len(entered) <= plan.sizes[rung]
        scores = [before[number] for number in entered]
        assert None not in scores, "one that failed is never promoted"
        left = [score for number, score in before.items() if number not in entered and score is not None]
        if entered and len(entered) == plan.sizes[rung]:
            assert min(score for score in scores if score is not None) >= max(left, default=0.0)


def test_a_rung_waits_for_its_last_trial_before_it_promotes() -> None:
    plan = Plan(sizes=[3, 1], ceilings=[[1, 3]] * 3, budget=100, parallel=5)
    ended = [Trial(0, 0, False, 0.5, 1), Trial(0, 1, False, 0.7, 1), Trial(0, 2, True, None, 1)]
    assert rules.decide(plan, ended) == rules.Move()
    ended[2] = Trial(0, 2, False, None, 0)
    assert [(start.rung, start.number) for start in rules.decide(plan, ended).starts] == [(1, 1)]


def test_it_waits_while_an_open_trial_may_leave_room_and_ends_when_none_can() -> None:
    plan = Plan(sizes=[3], ceilings=[[60], [60], [60]], budget=100, parallel=3)
    one = Trial(0, 0, True, None, 60)
    assert rules.decide(plan, [one]) == rules.Move()
    assert [start.number for start in rules.decide(plan, [Trial(0, 0, False, 0.5, 40)]).starts] == [1]
    assert rules.decide(plan, [Trial(0, 0, False, 0.5, 41)]) == rules.Move(ending=rules.BUDGET)


def test_a_halt_starts_nothing_and_ends_once_nothing_is_open() -> None:
    plan = Plan(sizes=[3], ceilings=[[1]] * 3, budget=100, parallel=3)
    open_one, ended = Trial(0, 0, True, None, 1), Trial(0, 0, False, 0.4, 1)
    assert rules.decide(plan, [open_one], halt=rules.SPEND_LIMIT) == rules.Move()
    assert rules.decide(plan, [ended], halt=rules.SPEND_LIMIT) == rules.Move(ending=rules.SPEND_LIMIT)


def test_of_equal_scores_the_one_with_fewer_passes_wins() -> None:
    trials = [Trial(1, 0, False, 0.9, 3), Trial(0, 0, False, 0.9, 1), Trial(0, 1, False, None, 0)]
    assert rules.winner(trials) == trials[1]
    assert rules.winner([trials[2]]) is None
