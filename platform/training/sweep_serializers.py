"""What `POST /v1/fine_tuning/sweeps` takes. What a job has as well is called as in a job."""

from typing import Any

from drf_spectacular.drainage import set_override
from rest_framework import serializers

from kit.api import StrictSerializer
from kit.fields import AUTO, Dollars, Metadata, OneOf, Text, Truth, Whole
from registry import names
from training.methods import LORA, METHODS, RANK
from training.scheduling.fairness import LANES
from training.searching import space as spaces
from training.searching.rungs import ETA
from training.serializers import MOST_EPOCHS, MOST_GPUS, SEEDS, TASK, Hyperparameters, JobColumns

LEAST_TRIALS, MOST_TRIALS = 2, 100
MOST_VALUES = 50
MOST_PARALLEL = 16
LONGEST_NAME = 48
DEFAULT_NAME = "sweep"
DEFAULT_PARALLEL = 2
DEFAULT_EPOCHS = 9


LIST = {
    "type": "array",
    "description": "The values to try.",
    "minItems": 1,
    "maxItems": MOST_VALUES,
    "items": {},
    "example": [1, 2],
}
RANGE = {
    "type": "object",
    "description": "A range to draw from; not for a grid.",
    "required": ["min", "max"],
    "properties": {
        "min": {"type": "number", "description": "The least."},
        "max": {"type": "number", "description": "The most."},
        "scale": {
            "type": "string",
            "enum": list(spaces.SCALES),
            "description": "`log` draws each order of magnitude as often; `linear` is the default.",
        },
    },
}


class Axis(serializers.Field[Any, Any, Any, Any]):
    """A list of different values, or a range {"min", "max", "scale"} of numbers; each value as a job takes it."""

    def __init__(self, *, one: Any, numbers: bool = True, **options: Any) -> None:
        super().__init__(**options)
        self.one, self.numbers = one, numbers
        set_override(self, "field", {"oneOf": [LIST, RANGE] if numbers else [LIST]})

    def to_internal_value(self, data: Any) -> Any:
        """As `training.searching.space` reads it."""
        if isinstance(data, list):
            return self._values(data)
        if isinstance(data, dict) and self.numbers:
            return self._range(data)
        choice = ' or a range such as {"min": 1, "max": 8, "scale": "log"}' if self.numbers else ""
        raise serializers.ValidationError(f"Must be a list of values{choice}.")

    def to_representation(self, value: Any) -> Any:
        """As it is."""
        return value

    def _values(self, data: list[Any]) -> list[Any]:
        if not 1 <= len(data) <= MOST_VALUES:
            raise serializers.ValidationError(f"Must have 1 to {MOST_VALUES} values; it has {len(data):,}.")
        values = [self._value(value, f"[{place}]") for place, value in enumerate(data)]
        if len(set(values)) < len(values):
            raise serializers.ValidationError("Each value may stand once.")
        return values

    def _range(self, data: dict[str, Any]) -> dict[str, Any]:
        for name in data:
            if name not in ("min", "max", "scale"):
                raise serializers.ValidationError({str(name): ["Unknown field. Known fields: max, min, scale."]})
        for name in ("min", "max"):
            if name not in data:
                raise serializers.ValidationError({name: ["This field is required."]})
        scale = data.get("scale", spaces.LINEAR)
        if scale not in spaces.SCALES:
            raise serializers.ValidationError({"scale": [f"Must be one of {', '.join(spaces.SCALES)}."]})
        low, high = (self._value(data[name], f".{name}", auto=False) for name in ("min", "max"))
        if low >= high:
            raise serializers.ValidationError({"min": [f"Must be below max, which is {high:g}."]})
        return {"min": low, "max": high, "scale": scale}

    def _value(self, value: Any, where: str, *, auto: bool = True) -> Any:
        try:
            if value == AUTO and not auto:
                raise serializers.ValidationError("Must be a number.")
            return self.one.run_validation(value)
        except serializers.ValidationError as error:
            detail: Any = error.detail
            raise serializers.ValidationError(f"{where.lstrip('.')}: {detail[0]}") from error


def _axis(name: str, words: str) -> Axis:
    return Axis(one=Hyperparameters().fields[name], required=False, help_text=words)


class SpaceInput(StrictSerializer):
    """What to try. An axis that is left out stays as a job has it by default."""

    x_method = Axis(
        one=OneOf(METHODS),
        numbers=False,
        required=False,
        help_text="Methods to try: a list of `lora`, `full`, `head`.",
    )
    x_lora_rank = _axis(
        RANK, "Ranks of the adapters to try, for `lora`: a list, or a range. Other methods are tried without."
    )
    n_epochs = _axis("n_epochs", "Passes to try: a list, or a range. Not with `halving`, which sets them by rung.")
    batch_size = _axis("batch_size", "Batch sizes to try: a list, or a range.")
    learning_rate_multiplier = _axis(
        "learning_rate_multiplier", "Multipliers of the learning rate to try: a list, or a range; log suits it."
    )

    def validate(self, data: dict[str, Any]) -> dict[str, Any]:
        """Something has to be tried."""
        if not data:
            raise serializers.ValidationError(f"Name at least one of {', '.join(spaces.AXES)}.")
        if RANK in data and LORA not in spaces.methods_of(data):
            raise serializers.ValidationError(
                {RANK: ["Only 'lora' has a rank. Add it to x_method, or leave this out."]}
            )
        return data


class SweepInput(StrictSerializer):
    """The body of a create and of an estimate."""

    name = Text(longest=LONGEST_NAME, required=False, help_text="Begins the name of every trial's model.")
    model = Text(longest=255, help_text="The base to tune, by its name.")
    training_file = Text(longest=64, help_text="A checked file (`file-…`) or a dataset version (`dsv_…`).")
    validation_file = Text(
        longest=64,
        required=False,
        allow_null=True,
        help_text="Another checked file to compare on; without it a tenth of the rows is.",
    )
    strategy = OneOf(
        spaces.STRATEGIES,
        help_text="`grid` tries every combination, `random` draws settings, `halving` draws many, gives them few "
        "passes and goes on with the best third, again and again.",
    )
    space = SpaceInput(help_text="What to try, by the names of a job's settings.")
    trials = Whole(
        low=LEAST_TRIALS,
        high=MOST_TRIALS,
        required=False,
        help_text=f"How many settings to draw, {LEAST_TRIALS} to {MOST_TRIALS}; for a grid the most it may have.",
    )
    max_epochs = Whole(
        low=ETA,
        high=MOST_EPOCHS,
        required=False,
        help_text=f"With `halving`: the passes of the last rung, {ETA} to {MOST_EPOCHS}; {DEFAULT_EPOCHS} by default.",
    )
    parallel = Whole(
        low=1,
        high=MOST_PARALLEL,
        required=False,
        help_text=f"Trials open at once, 1 to {MOST_PARALLEL}; {DEFAULT_PARALLEL} by default.",
    )
    seed = Whole(
        low=0, high=SEEDS, required=False, allow_null=True, help_text="The same seed and space give the same trials."
    )
    metadata = Metadata(required=False, allow_null=True, help_text="Up to 16 pairs of your own; every trial gets them.")
    x_columns = JobColumns(
        required=False, allow_null=True, help_text="Which column of the file is what; as detected where it is not said."
    )
    x_lane = OneOf(LANES, required=False, help_text="The lane of every trial, as for a job.")
    x_gpus = Whole(
        low=1,
        high=MOST_GPUS,
        required=False,
        help_text="Places of one machine that each trial trains on at once, as for a job. The price stays the same.",
    )
    x_max_price_usd = Dollars(
        required=False,
        allow_null=True,
        help_text="The budget of the whole sweep, never exceeded; the estimate's upper end by default.",
    )
    x_email_on_end = Truth(required=False, help_text="Mail whoever made the key when the sweep has ended.")

    def validate_name(self, value: str) -> str:
        """It becomes part of the models' names."""
        if not names.SUFFIX.fullmatch(value):
            raise serializers.ValidationError(f"Must be {names.SUFFIX_RULE}.")
        return value

    def validate(self, data: dict[str, Any]) -> dict[str, Any]:
        """Strategy, space and counts fit together; the defaults of what was left out."""
        strategy, space = data["strategy"], data["space"]
        if strategy == spaces.HALVING:
            if spaces.EPOCHS in space:
                raise serializers.ValidationError(
                    {"space": {spaces.EPOCHS: ["Halving sets the passes of each rung. Use max_epochs instead."]}}
                )
            data.setdefault("max_epochs", DEFAULT_EPOCHS)
        elif "max_epochs" in data:
            raise serializers.ValidationError({"max_epochs": ["Only for halving. Use space.n_epochs instead."]})
        if strategy == spaces.GRID:
            _check_grid(space, data.setdefault("trials", MOST_TRIALS))
        elif "trials" not in data:
            raise serializers.ValidationError({"trials": ["Say how many settings to draw."]})
        elif not spaces.ranges(space) and spaces.grid_size(space) < 2:
            raise serializers.ValidationError({"space": ["One setting alone is no comparison; add values."]})
        if strategy == spaces.HALVING and data["trials"] < ETA:
            raise serializers.ValidationError({"trials": [f"Halving needs at least {ETA} settings."]})
        return {"name": DEFAULT_NAME, "parallel": DEFAULT_PARALLEL, "x_task": TASK} | data


def _check_grid(space: dict[str, Any], most: int) -> None:
    for name in spaces.ranges(space):
        raise serializers.ValidationError({"space": {name: ["A grid takes a list of values, not a range."]}})
    size = spaces.grid_size(space)
    if size < 2:
        raise serializers.ValidationError({"space": ["One setting alone is no comparison; add values."]})
    if size > most:
        raise serializers.ValidationError(
            {
                "space": [
                    f"The grid has {size:,} combinations, more than the {most} trials. Take values away, or draw some."
                ]
            }
        )
