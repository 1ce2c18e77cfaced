"""The wizard's form, between the browser's fields and the body the training room takes."""

from dataclasses import dataclass
from typing import Any

from django import forms
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from billing.selectors.subscriptions import entitlement_for
from console.columns_form import column_choices, once
from console.fields import name_field, places_field, price_field
from data import selectors as data
from data.columns import CHAT, CLASSIFICATION
from data.models import DatasetVersion, File
from data.roles import TRAINS_ON
from inference.tasks import TEXT_GENERATION
from kit.errors import ApiError, NotFound
from kit.money import NANO, parse_amount
from registry.bases import catalogue
from registry.selectors import bases
from tenants.models import Project
from training import services
from training.models import Job
from training.serializers import KNOBS, MOST_BATCH, MOST_EPOCHS, MOST_RANK, MOST_RATE, SEEDS
from training.services.jobs import LANE_FEATURES

MOST_CHOICES = 200


@dataclass(frozen=True, slots=True)
class Method:
    """One way to train, in words."""

    value: str
    label: str | Promise
    text: str | Promise


METHODS = [
    Method(
        "lora", "LoRA", gettext_lazy("Adapters beside the base. The usual choice: near full quality, shared serving.")
    ),
    Method("full", gettext_lazy("Full"), gettext_lazy("All weights. A little better with thousands of rows; slower.")),
    Method(
        "head", gettext_lazy("Head only"), gettext_lazy("The base stays fixed. Fastest and cheapest; for a first look.")
    ),
]
PARAMS = {
    "training_file": "dataset",
    "model": "model",
    "suffix": "suffix",
    "x_method": "method",
    "x_columns": "text_column",
    "columns": "text_column",
    "x_columns.text": "text_column",
    "x_columns.label": "label_column",
    "columns.text": "text_column",
    "columns.label": "label_column",
    "x_max_price_usd": "max_price",
    "x_lane": "lane",
    "x_gpus": "gpus",
    "hyperparameters": "n_epochs",
    **{f"hyperparameters.{knob}": knob for knob in KNOBS},
    "seed": "seed",
}
"""The API's names of parameters → fields of the form."""


def choices_of_data(project: Project, *, writes: bool = False) -> list[tuple[str, str]]:
    """Ready dataset versions of labelled text, newest first, then checked files that are in no dataset; with `writes`
    also what a model that writes learns from.

    Otherwise conversations are left out: no column of theirs is a text or a label.
    """
    kinds = (CLASSIFICATION, *(TRAINS_ON[TEXT_GENERATION] if writes else ()))
    versions = [version for kind in kinds for version in data.versions_ready(project.pk, task=kind)[:MOST_CHOICES]]
    found = [
        (
            v.public_id,
            _("%(name)s v%(n)s, %(rows)s rows") % {"name": v.dataset.name, "n": v.number, "rows": f"{v.rows:,}"},
        )
        for v in versions
    ]
    files = data.files_unused(project.pk).filter(status=File.Status.PROCESSED)[:MOST_CHOICES]
    found += [
        (f.public_id, _("%(name)s (file), %(rows)s rows") % {"name": f.filename[:60], "rows": f"{f.rows:,}"})
        for f in files
        if not f.levels.get("blocking") and (writes or f.task != CHAT)
    ]
    return found


def source_chosen(project: Project, public: object) -> File | DatasetVersion | None:
    """The file or version that a form names; None for nothing and for what is not the project's."""
    text = str(public or "")
    try:
        if text.startswith(DatasetVersion.prefix):
            return data.version_get(project.pk, text)
        if text.startswith(File.prefix):
            return data.file_get(project.pk, text)
    except NotFound:
        return None
    return None


class ResumeForm(forms.Form):
    """What a job that stopped at its ceiling needs to go on."""

    max_price = price_field(gettext_lazy("Spend at most"), required=True)

    def ceiling_nano(self) -> int | None:
        """The new ceiling; None where none was typed."""
        price = self.cleaned_data["max_price"]
        return int(price * NANO) if price else None


class JobForm(forms.Form):
    """What a job needs; empty settings mean "auto"."""

    dataset = forms.ChoiceField(
        label=gettext_lazy("Dataset"),
        error_messages={
            "required": gettext_lazy("Choose the data to train on."),
            "invalid_choice": gettext_lazy("Choose data of the list: checked, without blocking findings."),
        },
    )
    model = forms.ChoiceField(label=gettext_lazy("Base model"))
    method = forms.ChoiceField(
        label=gettext_lazy("Method"), choices=[(m.value, m.label) for m in METHODS], initial="lora"
    )
    suffix = name_field(gettext_lazy("Becomes part of the model's name."))
    max_price = price_field(
        gettext_lazy("Spend at most"),
        gettext_lazy("The job stops before it costs more. Empty: the estimate's upper end."),
    )
    gpus = places_field(gettext_lazy("Places at once"))
    lane = forms.ChoiceField(
        label=gettext_lazy("Lane"),
        choices=[
            ("standard", gettext_lazy("Standard")),
            ("preemptible", gettext_lazy("Preemptible: half the price, on what is left")),
            ("priority", gettext_lazy("Priority: counts twice in the queue, 1.5 times the price")),
        ],
        initial="standard",
        required=False,
        help_text=gettext_lazy("A preemptible job may be interrupted; it goes on from its checkpoint."),
    )
    deploy = forms.BooleanField(
        label=gettext_lazy("Deploy when the gate passes"),
        help_text=gettext_lazy(
            "The gate passes unless the model is worse than the baseline. Idle deployments cost nothing."
        ),
        required=False,
    )
    n_epochs = forms.IntegerField(
        label=gettext_lazy("Epochs"),
        min_value=1,
        max_value=MOST_EPOCHS,
        required=False,
        help_text=gettext_lazy("Empty: auto."),
    )
    batch_size = forms.IntegerField(
        label=gettext_lazy("Batch size"),
        min_value=1,
        max_value=MOST_BATCH,
        required=False,
        help_text=gettext_lazy("Empty: auto."),
    )
    learning_rate_multiplier = forms.FloatField(
        label=gettext_lazy("Learning rate multiplier"),
        min_value=0.001,
        max_value=MOST_RATE,
        required=False,
        help_text=gettext_lazy("Empty: auto."),
    )
    x_lora_rank = forms.IntegerField(
        label=gettext_lazy("LoRA rank"),
        min_value=1,
        max_value=MOST_RANK,
        required=False,
        help_text=gettext_lazy("For LoRA only. Empty: 8."),
    )
    seed = forms.IntegerField(
        label=gettext_lazy("Seed"),
        min_value=0,
        max_value=SEEDS,
        required=False,
        help_text=gettext_lazy("The same seed and data give the same model on one machine."),
    )

    writing = True
    """Whether bases for text generation are among the choices."""

    def __init__(self, project: Project, *args: Any, lenient: bool = False, **kwargs: Any) -> None:
        """`lenient`: columns of data that was chosen before are dropped in silence, while the new ones are fetched;
        so is a method that the newly chosen base cannot be trained with."""
        super().__init__(*args, **kwargs)
        entitlement = entitlement_for(project.tenant_id)
        plan = entitlement.plan
        lanes: Any = self.fields["lane"]
        lanes.choices = [one for one in lanes.choices if LANE_FEATURES.get(one[0]) in {None, *entitlement.features}]
        self.stale: dict[str, str] = {}
        dataset: Any = self.fields["dataset"]
        offered = [base for base in bases(plan=plan) if self.writing or CLASSIFICATION in base.tasks]
        self.datasets = choices_of_data(project, writes=any(TEXT_GENERATION in base.tasks for base in offered))
        dataset.choices = [("", _("choose")), *self.datasets]
        self.source = source_chosen(project, self.data.get("dataset") or self.initial.get("dataset"))
        if isinstance(self.source, (File, DatasetVersion)) and self.source.task == CHAT:
            self.initial.setdefault("model", next((b.name for b in offered if TEXT_GENERATION in b.tasks), ""))
        chosen = catalogue().get(str(self.data.get("model") or self.initial.get("model") or ""))
        self.writes = chosen is not None and chosen.task == TEXT_GENERATION
        shown = chosen or next(iter(offered), None)
        self.offered_methods = [method for method in METHODS if shown is None or method.value in shown.methods]
        if lenient and self.is_bound and "method" in self.fields:
            self._choose("method", self.method_shown)
        if file := self.file_with_columns:
            self._add_columns(file, lenient=lenient)
        model: Any = self.fields["model"]
        model.choices = [
            (b.name, _("%(name)s, %(n)s tokens a text") % {"name": b.name, "n": b.max_length}) for b in offered
        ]

    @property
    def method_shown(self) -> str:
        """The method that is ticked: the one asked for, where the base can be trained with it."""
        asked, able = str(self["method"].value()), [method.value for method in self.offered_methods]
        return asked if asked in able or not able else able[0]

    @property
    def has_columns(self) -> bool:
        """Whether the data is a file whose columns can be chosen."""
        return self.file_with_columns is not None

    @property
    def file_with_columns(self) -> File | None:
        """The file whose columns for text and label can be chosen, if it is one. A model that writes takes those of
        conversations, or of prompts and completions, as they were detected."""
        file = self.source if isinstance(self.source, File) else None
        return None if file is None or self.writes or file.task == CHAT else file

    @property
    def fixed_columns(self) -> dict[str, str]:
        """The columns that a dataset version was made of; they are part of it."""
        if not isinstance(self.source, DatasetVersion):
            return {}
        found: dict[str, str] = self.source.spec["files"][0]["columns"]
        return found

    def _add_columns(self, file: File, *, lenient: bool) -> None:
        """A select for the text and one for the label: the file's columns, the detected ones chosen."""
        known = [str(guess["column"]) for guess in file.columns]
        for role, words in (("text", _("Text column")), ("label", _("Label column"))):
            name, detected = f"{role}_column", file.roles.get(role, "")
            self.fields[name] = forms.ChoiceField(
                label=words,
                choices=column_choices(file, _("choose a column")),
                initial=detected,
                help_text=_("Detected: %(column)s.") % {"column": detected[:60]} if detected else "",
                error_messages={
                    "required": _("Choose the column."),
                    "invalid_choice": _("%(file)s has no column “%%(value)s”. Look at what is chosen now.")
                    % {"file": file.filename[:60].replace("%", "%%")},
                },
            )
            asked = self.data.get(name) if self.is_bound else self.initial.get(name)
            if not asked or (lenient and asked not in known):
                self.initial.pop(name, None)
                if self.is_bound and detected:
                    self._choose(name, detected)
            elif asked not in known:
                self.initial.pop(name, None)
                self.stale[name] = str(asked)
        self.order_fields(["dataset", "text_column", "label_column"])

    def _choose(self, name: str, value: str) -> None:
        data: Any = self.data
        self.data = data.copy()  # of a QueryDict with all values of each name
        self.data[name] = value  # type: ignore[index]

    def clean(self) -> dict[str, Any]:
        """One column is not both; what belongs to other data is shown as the new data has it."""
        clean = super().clean() or {}
        names = {role: f"{role}_column" for role in ("text", "label")}
        once(self, {role: clean[name] for role, name in names.items() if clean.get(name)}, names)
        if file := self.file_with_columns:
            for name in self.stale:
                if name in self.errors:
                    self._choose(name, file.roles.get(name.removesuffix("_column"), ""))
        return clean

    def wanted(self) -> dict[str, Any]:
        """The body of a create, as `training.services.job_create` takes it."""
        clean = self.cleaned_data
        body: dict[str, Any] = {
            "model": clean["model"],
            "training_file": clean["dataset"],
            "x_method": clean["method"],
            "suffix": clean["suffix"] or None,
            "seed": clean["seed"],
            "x_deploy": clean["deploy"],
            "x_lane": clean["lane"] or "standard",
            "x_gpus": clean["gpus"] or 1,
            "hyperparameters": {knob: clean[knob] if clean[knob] is not None else "auto" for knob in KNOBS},
        }
        if file := self.file_with_columns:
            columns = {role: clean[f"{role}_column"] for role in ("text", "label")}
            if any(file.roles.get(role) != column for role, column in columns.items()):
                body["x_columns"] = columns
        if clean["max_price"]:
            body["x_max_price_usd"] = int(clean["max_price"] * NANO)
        return body

    def renaming(self) -> "JobForm":
        """The form under the API's parameter names: what a service refuses lands on the field it means."""
        self.api_names = PARAMS
        return self

    @staticmethod
    def of_job(job: Job) -> dict[str, Any]:
        """A form filled like an earlier job."""
        version = data.version_by_id(job.dataset_version_id)
        ready = version is not None and version.state == DatasetVersion.State.READY
        source = version if ready else data.file_by_id(job.training_file_id)
        knobs = {key: value for key, value in job.hyperparameters.items() if value != "auto"}
        return {
            "dataset": source.public_id if source is not None else "",
            "model": job.base,
            "method": job.method,
            "suffix": job.suffix,
            "deploy": job.deploy,
            "lane": job.lane,
            "gpus": job.width if job.width > 1 else None,
            "seed": job.seed,
            "text_column": job.columns.get("text", ""),
            "label_column": job.columns.get("label", ""),
            **knobs,
        }


def estimate_view(project: Project, form: JobForm) -> dict[str, Any]:
    """The estimate as the wizard shows it; nano and seconds. What a service refuses is shown in its place."""
    try:
        found = services.job_estimate(project=project, wanted=form.wanted())
    except NotFound:
        raise
    except ApiError as error:
        return {"problem": error.message}
    price, seconds = found.get("price_usd"), found.get("seconds")
    if not price or not seconds:
        messages = [str(item.get("message", "")) for item in found.get("x_blocking", [])]
        return {"problem": " ".join(messages[:3]) or _("Blocking findings must be fixed first.")}
    low, high = parse_amount(price["low"]), parse_amount(price["high"])
    return {
        "estimate": {
            "about": (low + high) // 2,
            "ceiling": parse_amount(price["ceiling"]),
            "seconds_low": seconds["low"],
            "seconds_high": seconds["high"],
            "queue_seconds": found.get("queue_seconds"),
            "tokens": found.get("tokens", 0),
            "findings": found.get("findings", {}),
        }
    }
