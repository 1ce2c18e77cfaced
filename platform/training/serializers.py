"""What `POST /v1/fine_tuning/jobs` takes: OpenAI's fields, and ours after `x_`."""

from typing import Any

from rest_framework import serializers

from kit.api import StrictSerializer
from kit.errors import BadRequest
from kit.fields import AUTO, Dollars, Items, Metadata, Number, OneOf, Text, Truth, Whole
from registry import names
from registry.bases import METHODS as TASKS
from training.methods import DEFAULT_METHOD, LORA, METHODS, RANK
from training.scheduling.fairness import LANES

TASK = "text-classification"
SEEDS = 2**31 - 1
MOST_GPUS = 16
LONGEST_SUFFIX = 64
PRIORITIES = {"low": -1, "normal": 0, "high": 1}
KNOBS = ("n_epochs", "batch_size", "learning_rate_multiplier", RANK)
MOST_EPOCHS, MOST_BATCH, MOST_RATE, MOST_RANK = 50, 256, 100, 64
"""The upper ends of `KNOBS`, in their order."""


class Hyperparameters(StrictSerializer):
    """Each may be "auto"."""

    n_epochs = Whole(
        low=1,
        high=MOST_EPOCHS,
        auto=True,
        required=False,
        help_text=f"Passes over the training rows, 1 to {MOST_EPOCHS}.",
    )
    batch_size = Whole(
        low=1, high=MOST_BATCH, auto=True, required=False, help_text=f"Rows in a step, 1 to {MOST_BATCH}."
    )
    learning_rate_multiplier = Number(
        above=0,
        high=MOST_RATE,
        auto=True,
        required=False,
        help_text=f"Times the method's own learning rate; above 0, to {MOST_RATE}.",
    )
    x_lora_rank = Whole(
        low=1,
        high=MOST_RANK,
        auto=True,
        required=False,
        help_text=f"Rank of the adapters, 1 to {MOST_RANK}; 8 by default. For `lora` only.",
    )


class Supervised(StrictSerializer):
    """The one kind of fine-tuning there is so far."""

    hyperparameters = Hyperparameters(
        required=False, allow_null=True, help_text="Numbers, or `auto`, which is the default of each."
    )


class MethodSpec(StrictSerializer):
    """OpenAI's `method`."""

    type = Text(longest=40, help_text="`supervised`, the one kind there is.")
    supervised = Supervised(required=False, allow_null=True, help_text="Its settings.")
    dpo = serializers.JSONField(required=False, allow_null=True, help_text="Not offered; leave it out.")
    reinforcement = serializers.JSONField(required=False, allow_null=True, help_text="Not offered; leave it out.")

    def validate_type(self, value: str) -> str:
        """Only what is there is offered."""
        if value != "supervised":
            raise serializers.ValidationError(f"'{value[:40]}' is not offered here. Use 'supervised'.")
        return value

    def validate(self, data: dict[str, Any]) -> dict[str, Any]:
        """Settings of another kind would have no effect, and a silent drop would be a lie."""
        for other in ("dpo", "reinforcement"):
            if data.get(other) is not None:
                raise serializers.ValidationError({other: ["Not offered here. Leave the field out."]})
        return data


class JobColumns(StrictSerializer):
    """Which column of the file is the text, and which the label; or what a model that writes learns from."""

    text = Text(longest=200, required=False, help_text="The column with the text.")
    label = Text(longest=200, required=False, help_text="The column with the label.")  # type: ignore[assignment]
    messages = Text(longest=200, required=False, help_text="The column with the messages of a conversation.")
    tools = Text(longest=200, required=False, help_text="The column with the tools that a conversation may call.")
    prompt = Text(longest=200, required=False, help_text="The column with the prompt.")
    completion = Text(longest=200, required=False, help_text="The column with the completion.")


class JobInput(StrictSerializer):
    """The body of a create and of an estimate."""

    model = Text(longest=255, help_text="The base to tune, by its name.")
    training_file = Text(longest=64, help_text="A checked file (`file-…`) or a dataset version (`dsv_…`).")
    validation_file = Text(
        longest=64,
        required=False,
        allow_null=True,
        help_text="Another checked file to validate on; without it a tenth of the rows is.",
    )
    suffix = Text(
        longest=LONGEST_SUFFIX, required=False, allow_null=True, help_text="Becomes part of the model's name."
    )
    seed = Whole(
        low=0, high=SEEDS, required=False, allow_null=True, help_text="The same seed and data give the same model."
    )
    metadata = Metadata(required=False, allow_null=True, help_text="Up to 16 pairs of your own; lists filter by them.")
    integrations = Items(required=False, allow_null=True, most=5, help_text="None is offered; leave it out.")
    method = MethodSpec(required=False, allow_null=True, help_text="The kind of fine-tuning and its hyperparameters.")
    hyperparameters = Hyperparameters(
        required=False, allow_null=True, help_text="The old place of `method.supervised.hyperparameters`; still read."
    )
    x_task = Text(
        longest=40, required=False, help_text="`text-classification` or `text-generation`; the base's own by default."
    )
    x_columns = JobColumns(
        required=False, allow_null=True, help_text="Which column of the file is what; as detected where it is not said."
    )
    x_method = OneOf(
        METHODS, required=False, help_text="`lora` (the default), `full` or `head`; a model that writes takes `lora`."
    )
    x_max_price_usd = Dollars(
        required=False, allow_null=True, help_text="A ceiling: the job stops before it costs more."
    )
    x_lane = OneOf(
        LANES,
        required=False,
        help_text="`standard`; `preemptible` runs on what is left and may be interrupted, at half the price; "
        "`priority` counts twice in the queue, at one and a half times the price. Lanes come with a plan.",
    )
    x_gpus = Whole(
        low=1,
        high=MOST_GPUS,
        required=False,
        help_text="Places of one machine it trains on at once, 1 by default. Each counts as one of the plan's parallel "
        "jobs.",
    )
    x_priority = OneOf(
        PRIORITIES, required=False, help_text="Among your own jobs: `low`, `normal` (the default) or `high`."
    )
    x_email_on_end = Truth(
        required=False, help_text="Mail whoever made the key when the job has ended, or stands still and needs them."
    )
    x_deploy = Truth(required=False, help_text="Serve the model as soon as its report passes the gate.")

    def validate_suffix(self, value: str | None) -> str | None:
        """It becomes part of the model's name."""
        if value is not None and not names.SUFFIX.fullmatch(value):
            raise serializers.ValidationError(f"Must be {names.SUFFIX_RULE}.")
        return value

    def validate_integrations(self, value: list[Any] | None) -> None:
        """None is offered yet, and a silent drop would be a lie."""
        if value:
            raise serializers.ValidationError("No integration is offered here. Leave the field out.")

    def validate_x_task(self, value: str) -> str:
        """The task families there are."""
        if value not in TASKS:
            raise serializers.ValidationError(f"'{value}' is not a task that can be trained. Use {', '.join(TASKS)}.")
        return value


class JobChanges(JobInput):
    """The body of a clone: what is left out stays as it was."""

    model = Text(longest=255, required=False, help_text="Another base.")
    training_file = Text(longest=64, required=False, help_text="Other data: its columns are detected anew.")


class ResumeInput(StrictSerializer):
    """The body of a resume; may be empty."""

    x_max_price_usd = Dollars(required=False, help_text="A higher ceiling, for a job that stopped at the one it had.")


def knobs_of(data: dict[str, Any]) -> dict[str, Any]:
    """The hyperparameters of a body, from `method.supervised` or the old top-level field; all keys of its method, in
    order.

    Both at once are fine as long as they agree; BadRequest where they do not, and for a rank where nothing has one.
    """
    supervised = ((data.get("method") or {}).get("supervised") or {}).get("hyperparameters") or {}
    old = data.get("hyperparameters") or {}
    merged: dict[str, Any] = {}
    for knob in KNOBS:
        if knob in supervised and knob in old and supervised[knob] != old[knob]:
            raise BadRequest(
                f"'{knob}' is given twice with different values. Keep method.supervised.hyperparameters; "
                "the top-level field is deprecated.",
                param=f"hyperparameters.{knob}",
            )
        merged[knob] = supervised.get(knob, old.get(knob, AUTO))
    return _ranked(merged, data.get("x_method", DEFAULT_METHOD))


def _ranked(knobs: dict[str, Any], method: str) -> dict[str, Any]:
    """The rank stays with the one method that has it: dropped in silence it would be taken for tried."""
    if method == LORA:
        return knobs
    if knobs[RANK] != AUTO:
        raise BadRequest(
            f"Only 'lora' has a rank; the method here is '{method}'. Leave {RANK} out, or use 'lora'.",
            param=f"hyperparameters.{RANK}",
        )
    return {knob: value for knob, value in knobs.items() if knob != RANK}
