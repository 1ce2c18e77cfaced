"""What the trials of a sweep may cost: each setting in each rung on its own, then the sweep as a whole.

A job's price is by tokens, whatever it trains on: several places make a trial faster and no dearer.
"""

from dataclasses import dataclass
from typing import Any

from kit.ids import new_id
from kit.money import in_name, written, written_at_most
from training import forecast
from training.errors import CeilingTooLow
from training.lab.estimate import Workload
from training.methods import DEFAULT_METHOD
from training.models import Job, Sweep
from training.searching.space import METHOD, Setting
from training.serializers import KNOBS
from training.services import money


@dataclass(frozen=True, slots=True)
class Priced:
    """Ranges of the whole, in nano and seconds, and each trial's ceiling as [setting][rung]."""

    ceilings: list[list[int]]
    nano_low: int
    nano_high: int
    seconds_low: int
    seconds_high: int

    def as_dict(self) -> dict[str, Any]:
        """What is kept with the sweep."""
        return {
            "nano": {"low": self.nano_low, "high": self.nano_high},
            "seconds": {"low": self.seconds_low, "high": self.seconds_high},
        }


def body_of(setting: Setting, epochs: int | None) -> dict[str, Any]:
    """The fields of a job's body that a setting decides; `epochs` are those of its rung."""
    knobs = {knob: setting.get(knob, "auto") for knob in KNOBS}
    if epochs is not None:
        knobs["n_epochs"] = epochs
    return {"x_method": setting.get(METHOD, DEFAULT_METHOD), "hyperparameters": knobs}


def draft_of(sweep: Sweep, setting: Setting | None = None, epochs: int | None = None) -> Job:
    """A job as the sweep would start it, not saved: for what reads and prices jobs."""
    body = body_of(setting or {}, epochs)
    return Job(
        id=new_id(),
        tenant_id=sweep.tenant_id,
        project_id=sweep.project_id,
        task=sweep.task,
        base=sweep.base,
        method=body["x_method"],
        seed=sweep.seed,
        hyperparameters=body["hyperparameters"],
        columns=sweep.columns,
        lane=sweep.lane,
        width=sweep.width,
        training_file_id=sweep.training_file_id,
        validation_file_id=sweep.validation_file_id,
        dataset_version_id=sweep.dataset_version_id,
    )


def priced(sweep: Sweep, work: Workload) -> Priced:
    """The price of every trial on this workload. A later rung's settings are not known yet: the range goes from its
    cheapest to its dearest ones."""
    price = money.price_per_million(draft_of(sweep))
    table = [
        [forecast.forecast_work(draft_of(sweep, setting, rung["epochs"]), work, price=price) for rung in sweep.rungs]
        for setting in sweep.settings
    ]
    totals = [0, 0, 0, 0]
    for place, rung in enumerate(sweep.rungs):
        column = [row[place] for row in table]
        sizes = rung["size"]
        totals[0] += sum(sorted(one.nano_low for one in column)[:sizes])
        totals[1] += sum(sorted((one.nano_high for one in column), reverse=True)[:sizes])
        totals[2] += sum(sorted(one.seconds_low for one in column)[:sizes])
        totals[3] += sum(sorted((one.seconds_high for one in column), reverse=True)[:sizes])
    return Priced(
        ceilings=[[one.nano_high for one in row] for row in table],
        nano_low=totals[0],
        nano_high=totals[1],
        seconds_low=-(-totals[2] // sweep.parallel),
        seconds_high=totals[3],
    )


def check_budget(asked: int | None, found: Priced) -> int:
    """The budget of the whole, in nano: as asked for, or the upper end of the estimate, and never more than that.
    CeilingTooLow where it does not carry the first trial."""
    first = found.ceilings[0][0]
    if asked is not None and asked < first:
        raise CeilingTooLow(
            f"The first trial may cost {written_at_most(first)}, more than {in_name('x_max_price_usd')} "
            f"({written(asked)}). Raise the budget to at least that, or use fewer passes or rows.",
            param="x_max_price_usd",
        )
    return found.nano_high if asked is None else min(asked, found.nano_high)
