"""The form of a sweep, between the browser's fields and the body the training room takes."""

import re
from dataclasses import dataclass, field
from typing import Any

from django import forms
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from console.fields import name_field, places_field, price_field
from console.job_form import METHODS, PARAMS, JobForm
from data.models import File
from kit.errors import ApiError, BadRequest, NotFound
from kit.money import parse_amount, written
from tenants.models import Project
from training import services
from training.methods import RANK
from training.searching.rungs import ETA
from training.searching.space import BATCH, EPOCHS, GRID, HALVING, LINEAR, LOG, METHOD, RANDOM, RATE, STRATEGIES
from training.serializers import MOST_EPOCHS
from training.sweep_serializers import (
    DEFAULT_EPOCHS,
    DEFAULT_NAME,
    DEFAULT_PARALLEL,
    LEAST_TRIALS,
    LONGEST_NAME,
    MOST_PARALLEL,
    MOST_TRIALS,
    SweepInput,
)

NUMBER = r"\d+(?:\.\d+)?"
RANGE = re.compile(rf"\s*({NUMBER})\s*(?:to|–|-|…|\.\.\.?)\s*({NUMBER})\s*", re.IGNORECASE)
SCALE = {RANK: LOG, EPOCHS: LINEAR, BATCH: LOG, RATE: LOG}
LONGEST_AXIS = 300
API_NAMES = PARAMS | {
    "name": "suffix",
    "trials": "trials",
    "parallel": "parallel",
    "max_epochs": "max_epochs",
    "space": RATE,
    f"space.{METHOD}": "methods",
    **{f"space.{axis}": axis for axis in SCALE},
}
"""The API's names of parameters → fields of the form."""


@dataclass(frozen=True, slots=True)
class Preset:
    """A way to search, filled in sensibly."""

    key: str
    label: str | Promise
    text: str | Promise
    strategy: str
    fields: dict[str, Any] = field(default_factory=dict)


PRESETS = [
    Preset(
        "quick",
        gettext_lazy("Quick look: 6 random"),
        gettext_lazy("Six settings drawn at random, each trained in full. A first look for little money."),
        RANDOM,
        {"trials": 6, "methods": ["lora"], RATE: "0.3 to 3", BATCH: "16, 32"},
    ),
    Preset(
        "careful",
        gettext_lazy("Careful: halving 18"),
        gettext_lazy(
            "Eighteen settings get few passes, the best third of them three times as many, and the best third of those "
            "all of them. More settings for less money."
        ),
        HALVING,
        {"trials": 18, "max_epochs": DEFAULT_EPOCHS, "methods": ["lora", "full"], RATE: "0.2 to 5", BATCH: "16, 32"},
    ),
    Preset(
        "grid",
        gettext_lazy("Grid: every combination"),
        gettext_lazy("Each value with each other one. For a few values that are known to matter."),
        GRID,
        {"methods": ["lora"], RATE: "0.5, 1, 2", BATCH: "16, 32"},
    ),
]


def preset_of(key: object) -> Preset:
    """The preset of this name, or the first."""
    return next((preset for preset in PRESETS if preset.key == key), PRESETS[0])


class AxisField(forms.CharField):
    """Values with commas, or a range; empty leaves the setting as it is by default."""

    def __init__(self, *, axis: str, **options: Any) -> None:
        super().__init__(required=False, max_length=LONGEST_AXIS, **options)
        self.axis = axis

    def clean(self, value: Any) -> Any:
        """As the API takes an axis; None where nothing was typed."""
        text = super().clean(value).strip()
        if not text:
            return None
        match = RANGE.fullmatch(text)
        if match:
            return {"min": self._number(match[1]), "max": self._number(match[2]), "scale": SCALE[self.axis]}
        return [self._number(part.strip()) for part in text.split(",")]

    def _number(self, text: str) -> Any:
        if text.lower() == "auto":
            return "auto"
        if not re.fullmatch(NUMBER, text) or not text.isascii():
            raise forms.ValidationError(
                _("Use values with commas, for example 0.5, 1, 2, or a range, for example 0.3 to 3.")
            )
        return float(text) if "." in text else int(text[:18])


class SweepForm(JobForm):
    """What a sweep needs: the data and base of a job, and for each setting what to try."""

    writing = False
    method = None  # type: ignore[assignment]
    deploy = None  # type: ignore[assignment]
    suffix = name_field(gettext_lazy("Begins the name of every trial's model."), longest=LONGEST_NAME)
    methods = forms.MultipleChoiceField(
        label=gettext_lazy("Methods"),
        choices=[(method.value, method.label) for method in METHODS],
        widget=forms.CheckboxSelectMultiple,
        error_messages={"required": gettext_lazy("Choose at least one method.")},
    )
    learning_rate_multiplier = AxisField(
        axis=RATE,
        label=gettext_lazy("Learning rate multipliers"),
        help_text=gettext_lazy("Values with commas, or a range such as 0.3 to 3. Empty: auto."),
    )  # type: ignore[assignment]
    batch_size = AxisField(
        axis=BATCH,
        label=gettext_lazy("Batch sizes"),
        help_text=gettext_lazy("Values with commas, or a range such as 8 to 64. Empty: auto."),
    )  # type: ignore[assignment]
    n_epochs = AxisField(
        axis=EPOCHS,
        label=gettext_lazy("Epochs"),
        help_text=gettext_lazy("Values with commas, or a range such as 2 to 8. Empty: auto."),
    )  # type: ignore[assignment]
    x_lora_rank = AxisField(
        axis=RANK,
        label=gettext_lazy("LoRA ranks"),
        help_text=gettext_lazy("Of the method LoRA: values with commas, or a range such as 2 to 32. Empty: 8."),
    )  # type: ignore[assignment]
    trials = forms.IntegerField(label=gettext_lazy("Settings to draw"), min_value=LEAST_TRIALS, max_value=MOST_TRIALS)
    max_epochs = forms.IntegerField(label=gettext_lazy("Epochs of the last rung"), min_value=ETA, max_value=MOST_EPOCHS)
    parallel = forms.IntegerField(
        label=gettext_lazy("Trials at once"),
        help_text=gettext_lazy("More are faster; the plan's parallel jobs still bound them."),
        min_value=1,
        max_value=MOST_PARALLEL,
        initial=DEFAULT_PARALLEL,
        required=False,
    )
    max_price = price_field(
        gettext_lazy("Budget of the whole"),
        gettext_lazy("All trials together never cost more. Empty: the estimate's upper end."),
    )
    gpus = places_field(gettext_lazy("Places of each trial"))
    strategy = forms.ChoiceField(choices=[(one, one) for one in STRATEGIES], widget=forms.HiddenInput)

    def __init__(self, project: Project, *args: Any, **kwargs: Any) -> None:
        """The preset says which strategy it is; a grid draws nothing, and halving sets the passes by itself."""
        super().__init__(project, *args, **kwargs)
        strategy = self.data.get("strategy") or self.initial.get("strategy")
        unused = {GRID: ("trials", "max_epochs"), HALVING: (EPOCHS,)}
        for name in unused.get(str(strategy), ("max_epochs",)):
            del self.fields[name]

    @property
    def preset(self) -> Preset:
        """The preset with this form's strategy."""
        strategy = self.data.get("strategy") or self.initial.get("strategy")
        return next((preset for preset in PRESETS if preset.strategy == strategy), PRESETS[0])

    def clean(self) -> dict[str, Any]:
        """What the API would refuse is refused here, on the field it means."""
        clean = super().clean()
        if not self.errors:
            try:
                self.body = SweepInput(data=self._raw(clean)).read()
            except BadRequest as error:
                param = error.param or ""
                named = [name for name in API_NAMES if param == name or param.startswith((f"{name}.", f"{name}["))]
                found = API_NAMES[max(named, key=len)] if named else None
                self.add_error(found if found in self.fields else None, error.message.removeprefix(f"{param}: "))
        return clean

    def _raw(self, clean: dict[str, Any]) -> dict[str, Any]:
        axes = {axis: clean.get(axis) for axis in SCALE}
        space = {METHOD: clean["methods"]} | {axis: values for axis, values in axes.items() if values is not None}
        wanted: dict[str, Any] = {
            "name": clean["suffix"] or DEFAULT_NAME,
            "model": clean["model"],
            "training_file": clean["dataset"],
            "strategy": clean["strategy"],
            "space": space,
            "x_lane": clean["lane"] or "standard",
            "x_gpus": clean["gpus"] or 1,
            "seed": clean["seed"],
            "x_max_price_usd": float(clean["max_price"]) if clean["max_price"] else None,
        }
        for name in ("trials", "max_epochs", "parallel"):
            if clean.get(name) is not None:
                wanted[name] = clean[name]
        if isinstance(self.source, File):
            columns = {role: clean[f"{role}_column"] for role in ("text", "label")}
            if any(self.source.roles.get(role) != column for role, column in columns.items()):
                wanted["x_columns"] = columns
        return wanted

    def wanted(self) -> dict[str, Any]:
        """The body of a create, as `training.services.sweep_create` takes it."""
        return self.body

    def renaming(self) -> "SweepForm":
        """The form under the API's parameter names: what a service refuses lands on the field it means."""
        self.api_names = API_NAMES
        return self


def sweep_estimate_view(project: Project, form: SweepForm) -> dict[str, Any]:
    """The estimate beside the form; nano and seconds. What a service refuses is shown in its place."""
    try:
        found = services.sweep_estimate(project=project, wanted=form.wanted())
    except NotFound:
        raise
    except ApiError as error:
        return {"problem": error.message}
    price, seconds = found["price_usd"], found["seconds"]
    if price is None:
        messages = [str(item.get("message", "")) for item in found.get("x_blocking", [])]
        return {"problem": " ".join(messages[:3]) or _("Blocking findings must be fixed first.")}
    low, high = parse_amount(price["low"]), parse_amount(price["high"])
    return {
        "estimate": {
            "trials": found["trials"],
            "settings": found["settings"],
            "rungs": found["rungs"] if len(found["rungs"]) > 1 else [],
            "range": f"{written(low)}–{written(high)}" if written(low) != written(high) else "",
            "about": (low + high) // 2,
            "ceiling": parse_amount(price["ceiling"]),
            "covers_all": found["x_covers_all"],
            "seconds_low": seconds["low"],
            "seconds_high": seconds["high"],
            "findings": found["findings"],
        }
    }
