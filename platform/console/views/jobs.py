"""Jobs: the list, the wizard with its estimate, the live page, cancel."""

from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from console import job_page
from console.job_form import JobForm, ResumeForm, choices_of_data, estimate_view
from console.paging import page_number, page_of, page_with, whole
from console.reports import class_rows, verdict_of
from console.sweep_page import sweep_row
from console.views.base import ConsoleView, Download
from console.views.names import job_name
from data import selectors as data
from inference.tasks import TEXT_GENERATION
from kit.csvs import csv_response
from kit.errors import NotFound
from registry.selectors import version_of_job
from training import selectors, services, states
from training.methods import RANK
from training.models import Job
from training.serializers import MOST_BATCH
from training.wire import knobs_shown

EVERY_POINT = 10**9
"""A file holds all points; only drawings are thinned."""
SHOWN_SWEEPS = 3
TRIALS = "trials"
STATES: dict[str, tuple[Any, tuple[str, ...]]] = {
    "": (gettext_lazy("All"), ()),
    "running": (gettext_lazy("Running"), states.HELD),
    "waiting": (gettext_lazy("Waiting"), states.IDLE),
    "succeeded": (gettext_lazy("Succeeded"), (states.SUCCEEDED,)),
    "failed": (gettext_lazy("Failed"), (states.FAILED,)),
    "cancelled": (gettext_lazy("Cancelled"), (states.CANCELLED,)),
}


class Jobs(ConsoleView):
    """The project's jobs. Trials of sweeps have a tab of their own: a sweep makes dozens."""

    section = "jobs"
    required_scopes = {"GET": "jobs.read"}
    template_name = "console/jobs.html"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        """Show them; the list refreshes itself while something runs."""
        wanted = request.GET.get("state", "")
        everything = selectors.jobs(self.project.pk)
        trials, rows = everything.exclude(sweep=None), everything.filter(sweep=None)
        counts = {key: rows.filter(state__in=group).count() for key, (_label, group) in STATES.items() if group}
        shown = dict(STATES)
        if counted := trials.count():
            shown[TRIALS], counts[TRIALS] = (_("Trials of sweeps"), ()), counted
        wanted = wanted if wanted in shown else ""
        if wanted == TRIALS:
            rows = trials
        elif wanted:
            rows = rows.filter(state__in=STATES[wanted][1])
        page = page_of(rows, page_number(request.GET.get("page")))
        newest = [] if wanted or page.number > 1 else selectors.sweeps(self.project.pk)[:SHOWN_SWEEPS]
        sweeps = [sweep_row(sweep, self.project_path("sweep", sweep.public_id)) for sweep in newest]
        return self.page(
            {
                "page": page_with(page, [self._row(job) for job in page.rows]),
                "states": [
                    {
                        "label": label,
                        "href": f"?state={key}" if key else "?",
                        "current": key == wanted,
                        "count": counts.get(key) or None,
                    }
                    for key, (label, _group) in shown.items()
                ],
                "filtered": bool(wanted),
                "busy": any(not job.is_final for job in page.rows) or any(not s["sweep"].is_final for s in sweeps),
                "all_url": self.project_path("jobs"),
                "new_url": self.project_path("job_new"),
                "sweeps": sweeps,
                "sweeps_url": self.project_path("sweeps"),
                "sweep_new_url": self.project_path("sweep_new"),
            }
        )

    def _row(self, job: Job) -> dict[str, Any]:
        running = job.state in states.HELD
        return {
            "job": job,
            "name": job_name(job),
            "badge": job_page.badge(job.state),
            "spent": job_page.spent_nano(job),
            "progress": job.progress if running else None,
            "why": job.error_message[:80] if job.state == states.FAILED else "",
            "href": self.project_path("job", job.public_id),
        }


class JobPage(ConsoleView):
    """One job, live while it runs."""

    section = "jobs"
    required_scopes = {"GET": "jobs.read"}
    template_name = "console/job.html"

    def get(self, request: HttpRequest, job: str) -> HttpResponseBase:
        """Show it."""
        found = selectors.job_by_public_id(self.project.pk, job)
        writes = found.task == TEXT_GENERATION
        loss, scores = job_page.charts_of(selectors.metric_points(found), writes=writes)
        log = selectors.events(found).filter(type="message").order_by("-seq")[: job_page.SHOWN_EVENTS]
        price = found.estimate.get("nano", {})
        following = urlencode({"after": found.event_seq, "badge": job_page.badge(found.state)})
        return self.page(
            {
                "job": found,
                "name": job_name(found),
                "badge": job_page.badge(found.state),
                "live": not found.is_final,
                "state": job_page.live_state(found),
                "waiting": job_page.waiting_text(selectors.waiting(found)),
                "loss": loss,
                "scores": scores,
                "events": [{"seq": event.seq, **job_page.log_line(event)} for event in log],
                "checkpoints": list(selectors.checkpoints(found).filter(removed_at=None)[:5]),
                "settings": self._settings(found),
                "estimate_low": price.get("low"),
                "estimate_high": price.get("high"),
                "took": job_page.took(found),
                "advice": job_page.advice(found.error_code),
                "can_write": self.can("jobs.write"),
                "crumbs": [{"label": _("Jobs"), "href": self.project_path("jobs")}],
                "sweep_url": self.project_path("sweep", found.sweep.public_id) if found.sweep else "",
                "csv_url": self.project_path("job_csv", found.public_id),
                "stream_url": f"{self.project_path('job_stream', found.public_id)}?{following}",
                "cancel_url": self.project_path("job_cancel", found.public_id),
                "pausable": found.state in (states.QUEUED, *states.WORKING) and found.pause_requested_at is None,
                "pause_url": self.project_path("job_pause", found.public_id),
                "resume_url": self.project_path("job_resume", found.public_id),
                "resume": ResumeForm() if found.blocked_by == states.BUDGET else None,
                **self._again(found),
                **self._data(found),
                **self._model(found),
            }
        )

    def _again(self, job: Job) -> dict[str, Any]:
        """The way to another run; after a lack of memory with half the batch."""
        again = f"{self.project_path('job_new')}?from={job.public_id}"
        if job.error_code != "out_of_memory":
            return {"again_url": again}
        used = job.hyperparameters.get("batch_size")
        smaller = max(1, used // 2) if isinstance(used, int) else 16
        return {"again_url": f"{again}&batch_size={smaller}", "smaller_batch": smaller}

    def _settings(self, job: Job) -> list[tuple[str, Any]]:
        names = {
            "n_epochs": _("Epochs"),
            "batch_size": _("Batch size"),
            "learning_rate_multiplier": _("Learning rate multiplier"),
            RANK: _("LoRA rank"),
        }
        return [(names[knob], value) for knob, value in knobs_shown(job).items()]

    def _data(self, job: Job) -> dict[str, Any]:
        version = data.version_by_id(job.dataset_version_id)
        if version is not None and version.dataset.deleted_at is None:
            href = f"{self.project_path('dataset', version.dataset.public_id)}?version={version.number}"
            return {"dataset_url": href, "dataset_name": str(version)}
        file = data.file_by_id(job.training_file_id)
        if file is None:
            return {}
        return {"dataset_url": self.project_path("file", file.public_id), "dataset_name": file.filename}

    def _model(self, job: Job) -> dict[str, Any]:
        version = version_of_job(job.pk)
        if version is None or version.model.deleted_at is not None:
            return {}
        verdict, tone = verdict_of(version.report, class_rows(version.report.get("per_class", []), "f1"))
        return {"model_url": self.project_path("model", version.model.public_id), "verdict": verdict, "tone": tone}


class JobCsv(Download):
    """The points of one of a job's charts as a file, every one of them."""

    section = "jobs"
    required_scopes = {"GET": "jobs.read"}

    def get(self, request: HttpRequest, job: str) -> HttpResponseBase:
        """Send it."""
        found = selectors.job_by_public_id(self.project.pk, job)
        name = request.GET.get("chart", "loss")
        points = selectors.metric_points(found, most=EVERY_POINT)
        wanted = [key for key, (chart, _series) in job_page.SERIES.items() if chart == name]
        if not wanted:
            raise NotFound(_("There is no such chart."))
        lines = {key: {point[0]: point[1] for point in points.get(key, [])} for key in wanted}
        steps = sorted({step for values in lines.values() for step in values if step is not None})
        rows = [[step, *(lines[key].get(step) for key in wanted)] for step in steps]
        return csv_response(f"{found.public_id}-{name}.csv", ["step", *wanted], rows)


class JobCancel(ConsoleView):
    """Stop a job."""

    section = "jobs"
    required_scopes = {"POST": "jobs.write"}

    def post(self, request: HttpRequest, job: str) -> HttpResponseBase:
        """Ask for it; a running job stops within seconds."""
        found = selectors.job_by_public_id(self.project.pk, job)
        services.job_cancel(job=found)
        return self.done(self.project_path("job", found.public_id))


class JobPause(ConsoleView):
    """Take a job out of the queue, or off its machine with a checkpoint."""

    section = "jobs"
    required_scopes = {"POST": "jobs.write"}

    def post(self, request: HttpRequest, job: str) -> HttpResponseBase:
        """Ask for it."""
        found = selectors.job_by_public_id(self.project.pk, job)
        services.job_pause(job=found)
        return self.done(self.project_path("job", found.public_id))


class JobResume(ConsoleView):
    """Let it go on."""

    section = "jobs"
    required_scopes = {"POST": "jobs.write"}

    def post(self, request: HttpRequest, job: str) -> HttpResponseBase:
        """Back into the queue; with a higher ceiling where it stopped at the one it had."""
        found = selectors.job_by_public_id(self.project.pk, job)
        form = ResumeForm(request.POST)
        services.job_resume(job=found, ceiling_nano=form.ceiling_nano() if form.is_valid() else None)
        return self.done(self.project_path("job", found.public_id))


class JobNew(ConsoleView):
    """The wizard: data, base, settings, with the estimate beside them."""

    section = "jobs"
    required_scopes = {"GET": "jobs.write", "POST": "jobs.write"}
    template_name = "console/job_new.html"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        """An empty form, or one filled from a dataset or an earlier job."""
        return self.form_page(JobForm(self.project, initial=self._initial(request)))

    def _initial(self, request: HttpRequest) -> dict[str, Any]:
        newest = next((value for value, _label in choices_of_data(self.project, writes=True)), "")
        initial: dict[str, Any] = {"dataset": request.GET.get("data", newest), "method": "lora"}
        if "from" in request.GET:
            try:
                job = selectors.job_by_public_id(self.project.pk, request.GET["from"])
            except NotFound:
                return initial
            initial |= JobForm.of_job(job)
            size = whole(request.GET.get("batch_size"), most=MOST_BATCH)
            if size is not None:
                initial["batch_size"] = size
        return initial

    def post(self, request: HttpRequest) -> HttpResponseBase:
        """Queue the job, or (without script) show its estimate."""
        if "columns" in request.POST:
            return self.form_page(JobForm(self.project, initial=request.POST.dict()))
        form = JobForm(self.project, request.POST)
        if not form.is_valid():
            return self.form_page(form, status=422)
        if "estimate" in request.POST:
            return self.form_page(form, **estimate_view(self.project, form))
        job = self.attempt(
            form.renaming(),
            lambda: services.job_create(
                project=self.project, wanted=form.wanted(), by=self.auth.actor_label, user_id=self.mail_to()
            ),
        )
        if job is None:
            return self.form_page(form, status=422)
        return self.done(self.project_path("job", job.public_id))

    def form_page(self, form: JobForm, *, status: int = 200, **estimate: Any) -> HttpResponseBase:
        """The page with a form that may carry errors or an estimate."""
        for name, other in (("dataset", "model"), ("model", "dataset")):
            form.fields[name].widget.attrs |= {
                "hx-get": self.project_path("job_columns"),
                "hx-trigger": "change",
                "hx-target": "#columns",
                "hx-include": f"[name={other}], [name=method]",
                "hx-sync": "this:replace",
            }
        chosen = urlencode({"data": form["dataset"].value() or ""})
        return self.page(
            {
                "form": form,
                "datasets": form.datasets,
                "crumbs": [{"label": _("Jobs"), "href": self.project_path("jobs")}],
                "estimate_url": self.project_path("job_estimate"),
                "sweep_new_url": f"{self.project_path('sweep_new')}?{chosen}",
                "upload_url": self.project_path("dataset_new"),
                **estimate,
            },
            status=status,
        )


class JobColumns(ConsoleView):
    """The columns of the data chosen in the wizard, and how the chosen base can be trained: fragments of it."""

    section = "jobs"
    required_scopes = {"GET": "jobs.write"}

    def get(self, request: HttpRequest) -> HttpResponseBase:
        """Selects for a file; words for a version, and for nothing."""
        asked = {name: request.GET.get(name, "") for name in ("dataset", "model", "method")}
        form = JobForm(self.project, initial=asked)
        swapped = "method" in request.GET  # a sweep's page has methods of its own
        return TemplateResponse(request, "console/job_choices.html", {"form": form, "swapped": swapped})


class JobEstimate(ConsoleView):
    """The estimate of a form that is still being filled in: a fragment of the wizard."""

    section = "jobs"
    required_scopes = {"POST": "jobs.write"}

    def post(self, request: HttpRequest) -> HttpResponseBase:
        """Price and time, or what is missing."""
        form = JobForm(self.project, request.POST, lenient=True)
        if form.is_valid():
            context = estimate_view(self.project, form)
        else:
            context = {"problem": next(iter(form.errors.values()))[0]} if form.data.get("dataset") else {}
        return TemplateResponse(request, "console/estimate.html", context)
