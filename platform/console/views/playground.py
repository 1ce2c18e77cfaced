"""The playground: try whatever is live, or two models side by side, on the same input."""

from functools import partial
from typing import Any, ClassVar, cast
from uuid import UUID

from django import forms
from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from console.playing.answers import Outcome, outcome_of
from console.playing.faces import Face, alike, face_of, words_of
from console.playing.subjects import Subject, found, kind_of, subjects_of
from console.playing.writing import MOST_LETTERS
from console.views.base import ConsoleView, Outside
from kit.errors import ApiError, BadRequest, NotFound
from registry.errors import ModelNotFound
from serving import selectors, trying
from tenants.errors import TenantSuspended
from tenants.visiting import Visitor

EMPTY = gettext_lazy("Write a text to try.")

TOO_LONG = gettext_lazy("It has %(show_value)d characters; %(limit_value)d are read at most. Shorten it.")
BETWEEN = {
    "min_value": gettext_lazy("Write %(limit_value)s or more."),
    "max_value": gettext_lazy("Write %(limit_value)s or less."),
    "invalid": gettext_lazy("Write a number."),
}

WRONG = BadRequest("The form was not filled in as it must be.")
UNNAMED = gettext_lazy(
    "Another version of the model answers to the model's name. Give this one an alias on the model's page to try it."
)


class PlayForm(forms.Form):
    """What to ask, of which model, and perhaps of a second one. Each face shows the fields it knows."""

    model = forms.ChoiceField(label=gettext_lazy("Model"))
    against = forms.ChoiceField(label=gettext_lazy("Compare with"), required=False)
    text = forms.CharField(
        label=gettext_lazy("Text"),
        max_length=20_000,
        widget=forms.Textarea(attrs={"rows": 5}),
        error_messages={"required": EMPTY, "max_length": TOO_LONG},
    )
    other = forms.CharField(
        label=gettext_lazy("Second text"),
        max_length=20_000,
        widget=forms.Textarea(attrs={"rows": 3}),
        error_messages={"required": EMPTY, "max_length": TOO_LONG},
    )
    threshold = forms.FloatField(
        label=gettext_lazy("Threshold"), min_value=0, max_value=1, required=False, error_messages=BETWEEN
    )
    system = forms.CharField(
        label=gettext_lazy("System prompt"),
        max_length=20_000,
        required=False,
        error_messages={"max_length": TOO_LONG},
        widget=forms.Textarea(attrs={"rows": 2}),
    )
    temperature = forms.FloatField(
        label=gettext_lazy("Temperature"), min_value=0, max_value=2, required=False, error_messages=BETWEEN
    )
    max_tokens = forms.IntegerField(
        label=gettext_lazy("Tokens at most"),
        min_value=1,
        max_value=100_000,
        required=False,
        error_messages=BETWEEN,
    )
    history_0 = forms.CharField(max_length=MOST_LETTERS, required=False, widget=forms.HiddenInput)
    history_1 = forms.CharField(max_length=MOST_LETTERS, required=False, widget=forms.HiddenInput)

    def __init__(
        self, subjects: list[Subject], chosen: Subject | None, second: Subject | None, *args: Any, **options: Any
    ) -> None:
        face = face_of(chosen) if chosen is not None else None
        usual = {
            "threshold": face.threshold(chosen) if face and chosen else None,
            "temperature": 0.7,
            "max_tokens": 256,
        }
        options["initial"] = usual | options.get("initial", {})
        super().__init__(*args, **options)
        model, against = (cast(forms.ChoiceField, self.fields[name]) for name in ("model", "against"))
        model.choices = [(one.value, one.label) for one in subjects]
        others = alike(subjects, chosen) if chosen is not None else []
        for name, label in zip(("text", "other"), words_of(chosen), strict=True):
            self.fields[name].label = str(label)
            self.fields[name].required = face is not None and name in face.requires
        self.fields["threshold"].help_text = str(face.threshold_hint) if face else ""
        against.choices = [("", _("nothing")), *((one.value, one.label) for one in others)]
        self.initial["model"] = chosen.value if chosen is not None else ""
        self.initial["against"] = second.value if second is not None else ""


class PlayView(ConsoleView):
    """A page whose posts are calls. What it refuses before anything is asked is in the request log as well."""

    model_field: ClassVar[str] = ""
    """The form's field that says which model is asked."""
    refused: tuple[ApiError, str, str] | None = None
    """Why, what was called, as the request log names it, and the model."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Log what was refused, outside the scope that a refusal rolls back."""
        try:
            return super().dispatch(request, *args, **kwargs)
        finally:
            if self.refused is not None and not isinstance(self.seat, Visitor) and self.can("inference"):
                error, kind, model = self.refused
                trying.refused(
                    tenant_id=self.tenant.pk, project_id=self.project.pk, kind=kind, model=model, error=error
                )

    def refuse(self, error: ApiError | None = None, *, field: str = "") -> None:
        """Have a refusal logged with the model that the form names in `field`; without an error, that there is no such
        model, as the API says of one that is not deployed."""
        kind, name = self._called(self.request.POST.get(field or self.model_field) or "")
        self.refused = error or ModelNotFound.named(name), kind, name

    def _called(self, value: str) -> tuple[str, str]:
        """What a call of it is, and its name: that of a deployment here, else as it was written."""
        try:
            row = selectors.deployment_by_id(self.project.pk, value)
        except NotFound:
            return kind_of(""), value
        return kind_of(row.model.task), row.model.name

    def _check_scope(self, method: str) -> None:
        try:
            super()._check_scope(method)
        except TenantSuspended as error:
            self.refuse(error)
            raise


class Playground(PlayView):
    """Calls like any other, limited, metered and billed, without a key."""

    section = "playground"
    required_scopes = {"GET": "deployments.read", "POST": "inference"}
    template_name = "console/playground.html"
    model_field = "model"
    chosen: Subject | None = None

    def get(self, request: HttpRequest) -> HttpResponseBase:
        """The form, for the models the address names."""
        self._choose(request.GET.get("model") or request.GET.get("deployment"), request.GET.get("against"))
        form = PlayForm(self.subjects, self.chosen, self.second, initial={"text": request.GET.get("text", "")})
        return self._show(form)

    def post(self, request: HttpRequest) -> HttpResponseBase | Outside:
        """Ask the models. One that writes is asked by the page itself."""
        self._choose(request.POST.get("model"), request.POST.get("against"))
        form = PlayForm(self.subjects, self.chosen, self.second, request.POST)
        face = face_of(self.chosen) if self.chosen is not None else None
        if not form.is_valid() or face is None:
            unknown = next((name for name in ("model", "against") if name in form.errors), "")
            self.refuse(None if unknown else WRONG, field=unknown)
            return self._show(form, status=422)
        asked = [one for one in (self.chosen, self.second) if one is not None]
        if face.ask is None:
            unnamed = next((one for one in asked if not one.called), None)
            if unnamed is not None:
                form.add_error("model", UNNAMED)
                self.refused = BadRequest(str(UNNAMED)), unnamed.kind, unnamed.name
                return self._show(form, status=422)
            return self._show(form, [Outcome(number, one) for number, one in enumerate(asked)])
        ask, values = face.ask, form.cleaned_data
        return Outside(
            lambda: [outcome_of(number, one, partial(ask, one, values)) for number, one in enumerate(asked)],
            lambda outcomes: self._show(form, outcomes),
        )

    def _called(self, value: str) -> tuple[str, str]:
        one = found(subjects_of(self.project, cast(UUID, self.request.user.pk)), value)
        return super()._called(value) if one is None else (one.kind, one.called or one.name)

    def _choose(self, model: str | None, against: str | None) -> None:
        self.subjects = subjects_of(self.project, cast(UUID, self.request.user.pk))
        self.chosen = found(self.subjects, model) or next(iter(self.subjects), None)
        others = alike(self.subjects, self.chosen) if self.chosen is not None else []
        self.second = found(others, against)

    def _show(self, form: PlayForm, outcomes: list[Outcome] | None = None, *, status: int = 200) -> HttpResponseBase:
        face = face_of(self.chosen) if self.chosen is not None else None
        errors = [one.error for one in outcomes or [] if one.error is not None]
        if errors and len(errors) == len(outcomes or []):
            form.add_error(None, errors[0].message)
            status = errors[0].status
        if self.request.headers.get("hx-request"):
            status = 200  # with an error status htmx would leave the page as it is, and the error unseen
        answer = self.page(
            {
                "form": form,
                "chosen": self.chosen,
                "second": self.second,
                "face": face,
                "outcomes": outcomes,
                "samples": self._samples(form, face),
                "models_url": self.project_path("models"),
                "why_url": self.project_path("playground_why"),
                "can_run": self.can("inference"),
                "requests_url": self.project_path("requests") if self.can("usage.read") else "",
                **self._faced(face, form, outcomes),
            },
            status=status,
        )
        answer["cache-control"] = "no-store"  # it may hold a pass
        return answer

    def _faced(self, face: Face | None, form: PlayForm, outcomes: list[Outcome] | None) -> dict[str, Any]:
        """What the face's own template shows."""
        if face is None:
            return {}
        names = {"fields_template": f"console/playground/{face.name}_fields.html" if face.fields else ""}
        if not outcomes:
            return names
        return names | {"result_template": f"console/playground/{face.name}.html"} | face.context(
            outcomes, form.cleaned_data
        )  # fmt: skip

    def _samples(self, form: PlayForm, face: Face | None) -> Any:
        if face is None or self.chosen is None or not self.chosen.called:
            return []
        values = dict(form.initial) | getattr(form, "cleaned_data", {})  # what was refused is shown as it was asked
        if self.second is not None:
            values["threshold"] = face.threshold(self.chosen)  # two are compared as they answer, so none is asked for
        return face.samples(settings.BASE_URL, self.chosen, values)
