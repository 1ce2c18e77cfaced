"""What a sweep may cost, to the nano-dollar: whatever it tries, and on however many places."""

from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.services.entitlements import override_set
from tenants.scope import tenant_scope
from tests.conftest import Cast, Person, make_person
from tests.training.making import BASE, empty_queue
from tests.training.searching import SWEEPS, body, create, end, queue, read, reload, step, trials
from training.lab.estimate import Workload
from training.models import Sweep
from training.scheduling.fairness import LANES
from training.searching import rules
from training.searching.rungs import rungs_of
from training.searching.space import settings_of
from training.selectors.sweeps import plan_of
from training.services.claiming import slots_keep
from training.services.sweep_pricing import priced

pytestmark = pytest.mark.slow  # drives many jobs through the queue

spaces = st.fixed_dictionaries(
    {"x_method": st.lists(st.sampled_from(["lora", "full"]), min_size=1, unique=True)},
    optional={
        "x_lora_rank": st.lists(st.integers(1, 64), min_size=1, max_size=3, unique=True),
        "n_epochs": st.lists(st.integers(1, 50), min_size=1, max_size=4, unique=True),
        "batch_size": st.lists(st.integers(1, 256), min_size=1, max_size=3, unique=True),
    },
)
works = st.builds(
    lambda train, rest, labels, tokens: Workload(
        method="lora",
        rows={"train": train, "validation": rest, "test": rest},
        tokens={"train": train * tokens, "validation": rest * tokens, "test": rest * tokens},
        labels=labels,
        matrix_parameters=10_000_000,
        max_length=128,
    ),
    st.integers(8, 100_000),
    st.integers(1, 1000),
    st.integers(2, 200),
    st.integers(3, 300),
)


def planned(space: dict[str, Any], *, trials: int, halving: bool, lane: str, width: int) -> Sweep:
    """A sweep, not saved."""
    found = settings_of("random", space, trials=trials, seed=3)
    rungs = rungs_of(len(found), most_epochs=9 if halving else None)
    return Sweep(
        id=uuid4(), tenant_id=uuid4(), project_id=uuid4(), name="s", task="text-classification", base=BASE,
        strategy="random", space=space, seed=3, parallel=2, lane=lane, width=width, settings=found,
        rungs=[{"size": rung.size, "epochs": rung.epochs} for rung in rungs],
    )  # fmt: skip


@pytest.fixture(scope="module")
def ada() -> Person:
    """Whose currency chooses the prices."""
    return make_person("ada")


@given(spaces, works, st.integers(3, 30), st.booleans(), st.sampled_from(list(LANES)), st.integers(2, 16))
def test_more_places_never_change_a_price_and_the_whole_is_the_sum_of_its_ceilings(
    ada: Person, space: dict[str, Any], work: Workload, trials: int, halving: bool, lane: str, width: int
) -> None:
    alone = planned(space, trials=trials, halving=halving, lane=lane, width=1)
    wide = planned(space, trials=trials, halving=halving, lane=lane, width=width)
    with tenant_scope(ada.tenant.id):
        one, many = priced(alone, work), priced(wide, work)
    assert many.ceilings == one.ceilings
    assert (many.nano_low, many.nano_high) == (one.nano_low, one.nano_high)
    assert many.seconds_low <= one.seconds_low and many.seconds_high <= one.seconds_high
    dearest = 0
    for place, rung in enumerate(wide.rungs):
        column = sorted((row[place] for row in many.ceilings), reverse=True)
        dearest += sum(column[: rung["size"]])
    assert many.nano_high == dearest


@given(spaces, works, st.integers(3, 30), st.booleans(), st.integers(1, 16), st.randoms(use_true_random=False))
def test_the_whole_estimate_pays_for_every_trial_whoever_is_promoted(
    ada: Person, space: dict[str, Any], work: Workload, trials: int, halving: bool, width: int, chance: Any
) -> None:
    sweep = planned(space, trials=trials, halving=halving, lane="standard", width=width)
    with tenant_scope(ada.tenant.id):
        found = priced(sweep, work)
    sweep.ceilings, sweep.budget_nano = found.ceilings, found.nano_high
    plan, done = plan_of(sweep), []
    while not (move := rules.decide(plan, done)).ending:
        assert move.starts, "nothing is open, so something starts"
        for start in move.starts:  # the dearest that can happen: every trial costs its ceiling
            assert start.ceiling == found.ceilings[start.number][start.rung]
            done.append(rules.Trial(start.rung, start.number, False, chance.random(), start.ceiling))
            assert sum(trial.committed for trial in done) <= sweep.budget_nano
    assert move.ending == rules.COMPLETE, "the upper end of the estimate leaves nobody out"


@pytest.fixture
def two_places(cast: Cast, settings: Any) -> Cast:
    """One machine with two places, and a plan that runs three jobs at once."""
    settings.TRAINING_HOST, settings.TRAINING_SLOTS, settings.TRAINING_THREADS = "wide-host", 2, 1
    empty_queue()
    slots_keep(host="wide-host", count=2, kind="cpu-fp32", gpu_class="cpu")
    with tenant_scope(cast.owner.tenant.id):
        override_set(reason="a test", created_by="test", limits={"parallel_jobs": 3, "queued_jobs": 100})
    return cast


WIDE: dict[str, Any] = {"space": {"x_method": ["lora"], "x_lora_rank": [4, 8]}, "parallel": 2}


def test_trials_take_the_places_the_sweep_asked_for_at_the_price_of_one(two_places: Cast) -> None:
    ada = two_places.owner
    wanted = body(ada, **WIDE)
    path = f"{SWEEPS}/estimate"
    one, two = (ada.api.post(path, wanted | {"x_gpus": width}).json() for width in (1, 2))
    assert one["price_usd"] == two["price_usd"] and two["seconds"]["high"] < one["seconds"]["high"]
    sweep = create(ada, **WIDE, x_gpus=2)
    assert read(ada, sweep)["x_gpus"] == 2 and step(sweep) == "running"
    jobs = [queue(job) for job in trials(sweep)]
    assert [(job.width, job.spec["config"]["gpus"]) for job in jobs] == [(2, 2), (2, 2)]
    sweep = reload(ada, sweep.public_id)
    assert [job.ceiling_nano for job in jobs] == [row[0] for row in sweep.ceilings]
    assert sum(job.ceiling_nano for job in jobs) == sweep.budget_nano
    for job in jobs:
        end(job, score=0.5, share=0.4)
    assert step(sweep) == "succeeded"
    spent = sum(job.price_nano for job in trials(sweep))
    assert read(ada, sweep)["price_usd"]["spent"] == pytest.approx(spent / 1e9)
    page = ada.browser.get(f"{ada.workspace}/sweeps/{sweep.public_id}/").content.decode()
    assert "Places of each trial" in page
    assert read(ada, create(ada, **WIDE))["x_gpus"] == 1


def test_places_that_cannot_be_had_are_refused_before_anything_is_made(two_places: Cast) -> None:
    ada = two_places.owner
    wanted = body(ada, **WIDE)
    for width, words in ((4, "your plan runs 3 at once"), (3, "the largest has 2")):
        answer = ada.api.post(SWEEPS, wanted | {"x_gpus": width})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "x_gpus")
        assert words in answer.json()["error"]["message"]
    mixed = wanted | {"x_gpus": 2, "space": {"x_method": ["lora", "head"]}}
    assert ada.api.post(SWEEPS, mixed).json()["error"]["param"] == "x_gpus"
    for nonsense in (0, 17, 1.5, "2", True, None):
        assert ada.api.post(SWEEPS, wanted | {"x_gpus": nonsense}).json()["error"]["param"] == "x_gpus"
    form = {
        "dataset": wanted["training_file"], "model": BASE, "strategy": "grid", "methods": ["lora"],
        "x_lora_rank": "4, 8", "parallel": "1", "suffix": "wide", "gpus": "4",
    }  # fmt: skip
    page = ada.browser.post(f"{ada.workspace}/sweeps/new", form)
    assert page.status_code == 422 and list(page.context_data["form"].errors) == ["gpus"]
    assert ada.browser.post(f"{ada.workspace}/sweeps/new", form | {"gpus": "2"}).status_code == 302
    with tenant_scope(ada.tenant.id):
        assert [sweep.width for sweep in Sweep.objects.all()] == [2]
