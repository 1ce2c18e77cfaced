"""Deployments: serve a model, see how it does, stop it."""

import datetime as dt
from typing import Any

from django import forms
from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from console.answering import PrecisionForm, answering_of
from console.engines_form import EnginesForm, engines_state, no_engines, own_engines, price_in, price_of
from console.paging import page_number, page_of, page_with
from console.task_call import task_call
from console.views.base import ConsoleView
from console.views.names import short_name
from kit.clock import now
from kit.errors import PermissionDenied
from registry import selectors as registry
from registry.artefacts import UNLABELLED
from serving import idling, pools, selectors, services
from serving.dedicated import deployment_dedicated_set
from serving.models import Deployment, IdleRule

HOUR = dt.timedelta(hours=1)


def calls_last_hour(deployment: Deployment) -> int:
    """Calls that a deployment answered in the last hour."""
    return selectors.calls_since(deployment, now() - HOUR)


class DeployForm(EnginesForm):
    """A model to serve, perhaps a name that shall point at it, and engines of its own."""

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
                    dedicated=form.wish(),
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
        model = str(form["model"].value() or "")
        page = page_of(selectors.deployments(self.project.pk), page_number(request.GET.get("page")))
        rows = [
            {
                "deployment": d,
                "name": f"{short_name(d.model)} v{d.version.number}",
                "href": self.project_path("deployment", d.public_id),
                "own": (own := d.dedicated if hasattr(d, "dedicated") and d.state in selectors.ACTIVE else None),
                "own_state": engines_state(own) if own is not None else "",
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
                "no_engines": no_engines(pools.room()),
                "price": price_in(form, model),
                "price_url": self.project_path("engines_price"),
                "billing_url": self.org_path("billing"),
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

    required_scopes = {"GET": "deployments.read", "POST": "deployments.write"}

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
        return self.show(selectors.deployment_by_id(self.project.pk, deployment))

    def show(
        self,
        found: Deployment,
        form: PrecisionForm | None = None,
        *,
        engines: EnginesForm | None = None,
        status: int = 200,
    ) -> HttpResponseBase:
        """The page, with a form that was filled in wrongly."""
        name = selectors.names_called(self.project.pk, [found])[found.pk]
        rollout = selectors.rollout_with(found)
        return self.page(
            {
                "deployment": found,
                "name": short_name(found.model),
                "events": selectors.deployment_events(found),
                "rollout": rollout,
                "rollout_url": self.project_path("rollout", rollout.public_id) if rollout else "",
                "calls": calls_last_hour(found),
                "samples": task_call(settings.BASE_URL, model=name, task=found.model.task) if name else [],
                "writes": found.model.task in UNLABELLED,
                "crumbs": [{"label": _("Deployments"), "href": self.project_path("deployments")}],
                "model_url": self.project_path("model", found.model.public_id),
                "playground_url": f"{self.project_path('playground')}?model={found.public_id}",
                "stop_url": self.project_path("deployment_stop", found.public_id),
                "again_url": self.project_path("deployment_again", found.public_id) if can_again(self, found) else "",
                "can_stop": self.can("deployments.write") and found.state in selectors.ACTIVE,
                "answering": answering_of(found, form),
                "answering_url": self.project_path("deployment_answering", found.public_id),
                "can_change": self.can("deployments.write") and found.state in selectors.ACTIVE,
                "own": own_engines(found, engines),
                "engines_url": self.project_path("deployment_engines", found.public_id),
                "price_url": self.project_path("engines_price"),
                "billing_url": self.org_path("billing"),
                "form": form or engines,
            },
            status=status,
        )


class DeploymentAnswering(DeploymentPage):
    """Say when a deployment answers: only where a share of its answers is right, or always."""

    required_scopes = {"GET": "deployments.read", "POST": "deployments.write"}

    def post(self, request: HttpRequest, deployment: str) -> HttpResponseBase:
        """Set it, where the held-out rows support it."""
        found, form = selectors.deployment_by_id(self.project.pk, deployment), PrecisionForm(request.POST)
        if form.is_valid():
            changed = self.attempt(
                form, lambda: services.deployment_precision_set(deployment=found, precision=form.precision())
            )
            if changed is not None:
                return self.done(self.project_path("deployment", found.public_id) + "#answering")
        return self.show(found, form, status=422)


class DeploymentEngines(DeploymentPage):
    """Give a deployment engines of its own, change how many, or go back to the shared ones."""

    required_scopes = {"GET": "deployments.read", "POST": "deployments.write"}

    def post(self, request: HttpRequest, deployment: str) -> HttpResponseBase:
        """Set them, where there is room."""
        found, form = selectors.deployment_by_id(self.project.pk, deployment), EnginesForm(request.POST)
        if form.is_valid():
            changed = self.attempt(form, lambda: deployment_dedicated_set(deployment=found, wish=form.wish()))
            if changed is not None:
                return self.done(self.project_path("deployment", found.public_id) + "#engines")
        return self.show(found, engines=form, status=422)


class EnginesPrice(ConsoleView):
    """What the engines in a form that is still being filled in would cost: a fragment."""

    section = "deployments"
    required_scopes = {"GET": "deployments.read"}

    def get(self, request: HttpRequest) -> HttpResponseBase:
        """The hour and the month."""
        asked = request.GET
        price = price_of(asked.get("model", "")[:300], asked.get("least"), asked.get("most"))
        return TemplateResponse(request, "console/engines_price.html", {"price": price})


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
        """The same version and what was promised of it, under its alias if that still stands for it."""
        found = selectors.deployment_by_id(self.project.pk, deployment)
        named = [str(alias) for alias in registry.aliases(self.project.pk) if alias.version_id == found.version_id]
        made = services.deployment_create(
            project=self.project,
            model=found.model.name,
            version=found.version.number,
            alias=found.alias if found.alias in named else "",
            dedicated=selectors.wish_of(found),
            precision=found.precision,
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
