"""Sweeps: the list, the form with its estimate, the comparison, cancel, the losers' models."""

from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from console import sweep_page
from console.job_form import choices_of_data
from console.paging import page_number, page_of, page_with
from console.sweep_form import PRESETS, SweepForm, preset_of, sweep_estimate_view
from console.views.base import ConsoleView
from console.views.deleted import say_undo
from data import selectors as data
from registry.selectors import version_of_job
from serving.selectors import deployment_of_model
from training import selectors, services, states
from training.models import Sweep
from training.selectors import Standing
from training.sweep_serializers import DEFAULT_PARALLEL


class Sweeps(ConsoleView):
    """All sweeps of the project."""

    section = "jobs"
    required_scopes = {"GET": "jobs.read"}
    template_name = "console/sweeps.html"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        """Show them; the list refreshes itself while one is open."""
        page = page_of(selectors.sweeps(self.project.pk), page_number(request.GET.get("page")))
        return self.page(
            {
                "page": page_with(
                    page,
                    [sweep_page.sweep_row(sweep, self.project_path("sweep", sweep.public_id)) for sweep in page.rows],
                ),
                "busy": any(not sweep.is_final for sweep in page.rows),
                "new_url": self.project_path("sweep_new"),
                "crumbs": [{"label": _("Jobs"), "href": self.project_path("jobs")}],
            }
        )


class SweepNew(ConsoleView):
    """The form: data, base, what to try, with the estimate beside it."""

    section = "jobs"
    required_scopes = {"GET": "jobs.write", "POST": "jobs.write"}
    template_name = "console/sweep_new.html"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        """A preset, on the data that was named or the newest."""
        preset = preset_of(request.GET.get("preset"))
        newest = next((value for value, _label in choices_of_data(self.project)), "")
        initial = {
            "dataset": request.GET.get("data", newest),
            "strategy": preset.strategy,
            "parallel": DEFAULT_PARALLEL,
        }
        return self.form_page(SweepForm(self.project, initial=initial | preset.fields))

    def post(self, request: HttpRequest) -> HttpResponseBase:
        """Start it, or (without script) show its estimate or the columns of its data."""
        if "columns" in request.POST:
            initial = request.POST.dict() | {"methods": request.POST.getlist("methods")}
            return self.form_page(SweepForm(self.project, initial=initial))
        form = SweepForm(self.project, request.POST)
        if not form.is_valid():
            return self.form_page(form, status=422)
        if "estimate" in request.POST:
            return self.form_page(form, **sweep_estimate_view(self.project, form))
        sweep = self.attempt(
            form.renaming(),
            lambda: services.sweep_create(
                project=self.project, wanted=form.wanted(), by=self.auth.actor_label, user_id=self.mail_to()
            ),
        )
        if sweep is None:
            return self.form_page(form, status=422)
        return self.done(self.project_path("sweep", sweep.public_id))

    def form_page(self, form: SweepForm, *, status: int = 200, **estimate: Any) -> HttpResponseBase:
        """The page with a form that may carry errors or an estimate."""
        form.fields["dataset"].widget.attrs |= {
            "hx-get": self.project_path("job_columns"),
            "hx-trigger": "change",
            "hx-target": "#columns",
            "hx-sync": "this:replace",
        }
        chosen = form["dataset"].value() or ""
        return self.page(
            {
                "form": form,
                "datasets": form.datasets,
                "preset": form.preset,
                "presets": [
                    {
                        "label": preset.label,
                        "href": "?" + urlencode({"preset": preset.key, "data": chosen}),
                        "current": preset.key == form.preset.key,
                    }
                    for preset in PRESETS
                ],
                "crumbs": [{"label": _("Jobs"), "href": self.project_path("jobs")}],
                "estimate_url": self.project_path("sweep_estimate"),
                "upload_url": self.project_path("dataset_new"),
                **estimate,
            },
            status=status,
        )


class SweepEstimate(ConsoleView):
    """The estimate of a form that is still being filled in: a fragment of it."""

    section = "jobs"
    required_scopes = {"POST": "jobs.write"}

    def post(self, request: HttpRequest) -> HttpResponseBase:
        """Trials, price and time, or what is missing."""
        form = SweepForm(self.project, request.POST, lenient=True)
        if form.is_valid():
            context = sweep_estimate_view(self.project, form)
        else:
            context = {"problem": next(iter(form.errors.values()))[0]} if form.data.get("dataset") else {}
        return TemplateResponse(request, "console/estimate.html", context)


class SweepPage(ConsoleView):
    """One sweep: its trials compared, live while it runs."""

    section = "jobs"
    required_scopes = {"GET": "jobs.read"}
    template_name = "console/sweep.html"

    def get(self, request: HttpRequest, sweep: str) -> HttpResponseBase:
        """Show it."""
        found = selectors.sweep_by_public_id(self.project.pk, sweep)
        now = selectors.standing(found)
        rows = sweep_page.rows_of(found, now)
        for row in rows:
            row["href"] = self.project_path("job", row["job"].public_id)
        ended = len(now.jobs) - now.open
        return self.page(
            {
                "sweep": found,
                "badge": sweep_page.badge(found.state),
                "live": not found.is_final,
                "strategy": sweep_page.STRATEGIES[found.strategy],
                "now": now,
                "ended": ended,
                "done": ended / now.planned if now.planned else None,
                "used": now.spent / found.budget_nano if found.budget_nano else None,
                "budget": found.budget_nano if found.ceilings else found.max_price_nano,
                "ending": sweep_page.ending_text(found, now),
                "rungs": found.rungs if len(found.rungs) > 1 else [],
                "axes": [sweep_page.AXES[axis] for axis in sweep_page.axes_of(found)],
                "rows": rows,
                "stalled": [row for row in rows if row["job"].state == states.BLOCKED],
                "charts": sweep_page.chart_views(found, now.jobs, now.best),
                "fixed": sweep_page.fixed_of(found),
                "can_cancel": self.can("jobs.write") and found.state in (Sweep.State.PREPARING, Sweep.State.RUNNING),
                "cancel_url": self.project_path("sweep_cancel", found.public_id),
                "crumbs": [{"label": _("Jobs"), "href": self.project_path("jobs")}],
                **self._data(found),
                **self._winner(found, now),
                **self._losers(found),
            }
        )

    def _data(self, sweep: Sweep) -> dict[str, Any]:
        version = data.version_by_id(sweep.dataset_version_id)
        if version is None or version.dataset.deleted_at is not None:
            return {}
        href = f"{self.project_path('dataset', version.dataset.public_id)}?version={version.number}"
        return {"dataset_url": href, "dataset_name": str(version)}

    def _losers(self, sweep: Sweep) -> dict[str, Any]:
        """What can be thrown away once it has ended."""
        if not (sweep.is_final and self.can("models.write")):
            return {}
        found = selectors.losers_seen(sweep)
        return {
            "losers": len(found.names),
            "losers_size": found.size,
            "losers_url": self.project_path("sweep_losers", sweep.public_id),
        }

    def _winner(self, sweep: Sweep, now: Standing) -> dict[str, Any]:
        """The best trial: its settings, its model, and what can be done with it."""
        job = now.best
        if job is None:
            return {}
        context: dict[str, Any] = {
            "winner": job,
            "winner_name": sweep_page.trial_label(sweep, job),
            "winner_url": self.project_path("job", job.public_id),
            "winner_pairs": sweep_page.pairs_of(sweep, job),
            "again_url": f"{self.project_path('job_new')}?from={job.public_id}" if self.can("jobs.write") else "",
        }
        version = version_of_job(job.pk)
        if version is None or version.model.deleted_at is not None:
            return context
        deployed = deployment_of_model(version.model.pk)
        return context | {
            "model": version.model,
            "model_url": self.project_path("model", version.model.public_id),
            "deployment_url": self.project_path("deployment", deployed.public_id) if deployed else "",
            "can_deploy": self.can("deployments.write") and deployed is None and version.state == "ready",
            "deploy_url": self.project_path("deployments"),
        }


class SweepCancel(ConsoleView):
    """Stop a sweep."""

    section = "jobs"
    required_scopes = {"POST": "jobs.write"}

    def post(self, request: HttpRequest, sweep: str) -> HttpResponseBase:
        """Ask for it; open trials stop within seconds."""
        found = selectors.sweep_by_public_id(self.project.pk, sweep)
        services.sweep_cancel(sweep=found)
        return self.done(self.project_path("sweep", found.public_id))


class SweepLosers(ConsoleView):
    """Delete the models of trials that have not won."""

    section = "jobs"
    required_scopes = {"POST": "models.write"}

    def post(self, request: HttpRequest, sweep: str) -> HttpResponseBase:
        """Do it, and offer the way back."""
        found = selectors.sweep_by_public_id(self.project.pk, sweep)
        gone = len(services.losers_delete(sweep=found).names)
        if gone:
            said = ngettext("%(n)s model was deleted.", "%(n)s models were deleted.", gone) % {"n": gone}
            say_undo(request, said, self.project_path("sweep_losers_restore", found.public_id))
        return self.done(self.project_path("sweep", found.public_id))


class SweepLosersRestore(ConsoleView):
    """Bring back what was deleted together last."""

    section = "jobs"
    required_scopes = {"POST": "models.write"}

    def post(self, request: HttpRequest, sweep: str) -> HttpResponseBase:
        """Do it."""
        found = selectors.sweep_by_public_id(self.project.pk, sweep)
        back = len(services.losers_restore(sweep=found).names)
        said = ngettext("%(n)s model is back.", "%(n)s models are back.", back) % {"n": back} if back else ""
        return self.done(self.project_path("sweep", found.public_id), said)
