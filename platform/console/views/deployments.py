"""Deployments and the playground: serve a model, try it, stop it."""

import datetime as dt
import logging
import time
from typing import Any

from django import forms
from django.conf import settings
from django.db.models import QuerySet
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from billing.errors import CallRefused
from billing.selectors.usage import UsageFilter, usage_totals
from console.code import first_call
from console.paging import page_number, page_of, page_with
from console.task_call import task_call
from console.views.base import ConsoleView, Outside
from console.views.names import short_name
from inference.errors import EngineError
from inference.tasks import CLASSIFICATION, MULTI_LABEL
from kit.clock import now
from kit.errors import ApiError, PermissionDenied, Unavailable
from registry import selectors as registry
from registry.artefacts import UNLABELLED
from serving import idling, selectors, services
from serving.models import Deployment, IdleRule

logger = logging.getLogger(__name__)

HOUR = dt.timedelta(hours=1)
SHOWN_CLASSES = 10


def calls_last_hour(deployment: Deployment) -> int:
    """Calls of a deployment's model in the last hour, as metered."""
    moment = now()
    return usage_totals(
        wanted=UsageFilter(since=moment - HOUR, until=moment + HOUR, models=[deployment.model.name])
    ).requests


class DeployForm(forms.Form):
    """A model to serve, and perhaps a name that shall point at it."""

    model = forms.ChoiceField(label=gettext_lazy("Model"))
    alias = forms.CharField(
        label=gettext_lazy("Alias"),
        required=False,
        max_length=100,
        help_text=gettext_lazy("Moves to this model once it is live, for example triage@prod."),
    )

    version = forms.IntegerField(required=False, min_value=1, widget=forms.HiddenInput)

    def __init__(self, view: ConsoleView, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        models = list(registry.models(view.project.pk)[:200])
        newest = registry.versions_newest(models)
        served = selectors.deployments(view.project.pk).filter(state__in=selectors.ACTIVE)
        named = bool(self.data.get("version"))  # the service knows whether that one is served
        versions = set() if named else set(served.values_list("version_id", flat=True))
        field: Any = self.fields["model"]
        field.choices = [
            (model.name, short_name(model))
            for model in models
            if (version := newest.get(model.pk)) is not None and version.pk not in versions
        ]


class IdleForm(forms.Form):
    """What happens to deployments that nobody calls."""

    action = forms.ChoiceField(label=gettext_lazy("If nobody calls a deployment"), choices=IdleRule.Action.choices)
    days = forms.IntegerField(label=gettext_lazy("For so many days"), min_value=1, max_value=idling.MOST_DAYS)


class Deployments(ConsoleView):
    """What is served, and serving more."""

    section = "deployments"
    required_scopes = {"GET": "deployments.read", "POST": "deployments.write"}
    template_name = "console/deployments.html"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        """Show them."""
        return self._show(request, DeployForm(self))

    def post(self, request: HttpRequest) -> HttpResponseBase:
        """Wish a model served."""
        form = DeployForm(self, request.POST)
        if form.is_valid():
            clean = form.cleaned_data
            made = self.attempt(
                form,
                lambda: services.deployment_create(
                    project=self.project,
                    model=clean["model"],
                    alias=clean["alias"],
                    version=clean["version"],
                    created_by=self.auth.actor_label,
                ),
            )
            if made is not None:
                return self.done(self.project_path("deployment", made.public_id))
        return self._show(request, form, status=422)

    def _show(
        self, request: HttpRequest, form: DeployForm, *, idle_form: IdleForm | None = None, status: int = 200
    ) -> HttpResponseBase:
        rule = idling.rule_of(self.project.pk)
        page = page_of(selectors.deployments(self.project.pk), page_number(request.GET.get("page")))
        rows = [
            {
                "deployment": d,
                "name": short_name(d.model),
                "href": self.project_path("deployment", d.public_id),
                "again_url": self.project_path("deployment_again", d.public_id) if can_again(self, d) else "",
            }
            for d in page.rows
        ]
        return self.page(
            {
                "page": page_with(page, rows),
                "form": form,
                "idle": rule,
                "idle_form": idle_form or IdleForm(initial={"action": rule.action, "days": rule.days}),
                "idle_url": self.project_path("deployments_idle"),
                "can_rule": self.can("deployments.write"),
                "rollouts_url": self.project_path("rollouts"),
                "can_deploy": self.can("deployments.write") and bool(form.fields["model"].choices),  # type: ignore[attr-defined]
                "busy": any(d.state == Deployment.State.LOADING for d in page.rows),
                "models_url": self.project_path("models"),
                "new_url": self.project_path("job_new"),
            },
            status=status,
        )


class DeploymentsIdle(Deployments):
    """What happens to deployments that nobody calls."""

    required_scopes = {"POST": "deployments.write"}

    def post(self, request: HttpRequest) -> HttpResponseBase:
        """Set the project's rule."""
        form = IdleForm(request.POST)
        if form.is_valid():
            clean = form.cleaned_data
            idling.rule_set(project=self.project, action=clean["action"], days=clean["days"])
            return self.done(self.project_path("deployments"), _("The rule is set."))
        return self._show(request, DeployForm(self), idle_form=form, status=422)


class DeploymentPage(ConsoleView):
    """One deployment: whether it serves, how close it is to training, how to call it."""

    section = "deployments"
    required_scopes = {"GET": "deployments.read"}
    template_name = "console/deployment.html"

    def get(self, request: HttpRequest, deployment: str) -> HttpResponseBase:
        """Show it."""
        found = selectors.deployment_by_id(self.project.pk, deployment)
        name, writes = found.alias or found.model.name, found.model.task in UNLABELLED
        return self.page(
            {
                "deployment": found,
                "name": short_name(found.model),
                "events": selectors.deployment_events(found),
                "calls": calls_last_hour(found),
                "samples": task_call(settings.BASE_URL, model=name, task=found.model.task),
                "writes": writes,
                "crumbs": [{"label": _("Deployments"), "href": self.project_path("deployments")}],
                "model_url": self.project_path("model", found.model.public_id),
                "playground_url": f"{self.project_path('playground')}?deployment={found.public_id}",
                "stop_url": self.project_path("deployment_stop", found.public_id),
                "again_url": self.project_path("deployment_again", found.public_id) if can_again(self, found) else "",
                "can_stop": self.can("deployments.write") and found.state in selectors.ACTIVE,
            }
        )


class DeploymentStop(ConsoleView):
    """Stop serving a model."""

    section = "deployments"
    required_scopes = {"POST": "deployments.write"}

    def post(self, request: HttpRequest, deployment: str) -> HttpResponseBase:
        """Do it; with traffic the name must have been typed."""
        found = selectors.deployment_by_id(self.project.pk, deployment)
        name = short_name(found.model)
        if calls_last_hour(found) and request.POST.get("confirm_name", "").strip() != name:
            raise PermissionDenied(_("This deployment has traffic: type the model's name to stop it."))
        services.deployment_stop(deployment=found)
        return self.done(self.project_path("deployment", found.public_id))


class DeploymentAgain(ConsoleView):
    """Deploy what was stopped once more."""

    section = "deployments"
    required_scopes = {"POST": "deployments.write"}

    def post(self, request: HttpRequest, deployment: str) -> HttpResponseBase:
        """The same version, under its alias if that still stands for it."""
        found = selectors.deployment_by_id(self.project.pk, deployment)
        named = [str(alias) for alias in registry.aliases(self.project.pk) if alias.version_id == found.version_id]
        made = services.deployment_create(
            project=self.project,
            model=found.model.name,
            version=found.version.number,
            alias=found.alias if found.alias in named else "",
            created_by=self.auth.actor_label,
        )
        return self.done(self.project_path("deployment", made.public_id))


def can_again(view: ConsoleView, row: Deployment) -> bool:
    """Whether a deployment has ended whose version could be served again."""
    return (
        view.can("deployments.write")
        and row.state in (Deployment.State.STOPPED, Deployment.State.FAILED)
        and row.version.state == "ready"
        and row.model.deleted_at is None
        and selectors.deployment_of_version(row.version_id) is None
    )


class PlaygroundForm(forms.Form):
    """A text for a deployment."""

    deployment = forms.ChoiceField(label=gettext_lazy("Model"))
    threshold = forms.FloatField(label=gettext_lazy("Threshold"), min_value=0, max_value=1, initial=0.5, required=False)
    text = forms.CharField(
        label=gettext_lazy("Text"),
        max_length=20_000,
        widget=forms.Textarea(attrs={"rows": 5, "placeholder": "where is my refund"}),
        error_messages={"required": gettext_lazy("Write a text to classify.")},
    )


class Playground(ConsoleView):
    """Try a deployment: a call like any other, limited, metered and billed, without a key."""

    section = "playground"
    required_scopes = {"GET": "deployments.read", "POST": "inference"}
    template_name = "console/playground.html"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        """The form, with the deployment the address names."""
        live = self._live()
        wanted = request.GET.get("deployment") or (live[0].public_id if live else "")
        form = self._form(live, initial={"deployment": wanted, "threshold": 0.5, "text": request.GET.get("text", "")})
        return self._show(form, live)

    def post(self, request: HttpRequest) -> HttpResponseBase | Outside:
        """Ask the model."""
        live = self._live()
        form = self._form(live, request.POST)
        if not form.is_valid():
            return self._show(form, live, status=422)
        found = selectors.deployment_by_id(self.project.pk, form.cleaned_data["deployment"])
        text = form.cleaned_data["text"]
        return Outside(
            lambda: self._ask(found, text),
            lambda outcome: self._show_outcome(form, live, outcome, text=text, chosen=found),
        )

    def _ask(self, deployment: Deployment, text: str) -> tuple[services.Prediction | ApiError, float]:
        """The model's answer, or why there is none, and the milliseconds it took."""
        began = time.perf_counter()
        answer: services.Prediction | ApiError
        try:
            answer = services.prediction_try(deployment=deployment, texts=[text])
        except CallRefused as error:
            answer = error
        except EngineError:
            logger.exception("the playground got no answer from the engine")
            answer = Unavailable(_("The engine did not answer. It is our fault, it is logged, and it costs nothing."))
        return answer, (time.perf_counter() - began) * 1000

    def _show_outcome(
        self,
        form: PlaygroundForm,
        live: list[Deployment],
        outcome: tuple[services.Prediction | ApiError, float],
        **shown: Any,
    ) -> HttpResponseBase:
        answer, ms = outcome
        if isinstance(answer, ApiError):
            form.add_error(None, answer.message)
            return self._show(form, live, status=answer.status, **shown)
        pairs = answer.rows[0]
        threshold = form.cleaned_data["threshold"]
        result = {
            "pairs": [{"label": label, "probability": p} for label, p in pairs[:SHOWN_CLASSES]],
            "more": max(0, len(pairs) - SHOWN_CLASSES),
            "best": pairs[0],
            "abstains": threshold is not None and pairs[0][1] < threshold,
            "ms": round(ms),
            "tokens": answer.tokens,
            "cost": answer.cost_nano,
        }
        return self._show(form, live, result=result, **shown)

    def _live(self) -> list[Deployment]:
        """Those that know labels of a text: nothing else has probabilities of them to show."""
        return list(self._served().filter(model__task__in=(CLASSIFICATION, MULTI_LABEL))[:200])

    def _served(self) -> QuerySet[Deployment]:
        return selectors.deployments(self.project.pk).filter(state=Deployment.State.LIVE)

    def _form(self, live: list[Deployment], *args: Any, **kwargs: Any) -> PlaygroundForm:
        form = PlaygroundForm(*args, **kwargs)
        field: Any = form.fields["deployment"]
        field.choices = [(d.public_id, short_name(d.model) + (f" ({d.alias})" if d.alias else "")) for d in live]
        return form

    def _show(
        self,
        form: PlaygroundForm,
        live: list[Deployment],
        *,
        status: int = 200,
        result: dict[str, Any] | None = None,
        text: str = "",
        chosen: Deployment | None = None,
    ) -> HttpResponseBase:
        chosen = chosen or next((d for d in live if d.public_id == form["deployment"].value()), None)
        if self.request.headers.get("hx-request"):
            status = 200  # with an error status htmx would leave the page as it is, and the error unseen
        writer = None if live else self._served().filter(model__task__in=UNLABELLED).first()
        first = (text or "where is my refund").splitlines()[0][:120]
        return self.page(
            {
                "form": form,
                "live": live,
                "result": result,
                "samples": first_call(
                    settings.BASE_URL, model=(chosen.alias or chosen.model.name) if chosen else "…", text=first
                ),
                "models_url": self.project_path("models"),
                "writer_url": writer and f"{self.project_path('deployment', writer.public_id)}#call-it",
                "can_run": self.can("inference"),
            },
            status=status,
        )
