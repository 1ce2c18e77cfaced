"""`/v1/fine_tuning/jobs` as the official client uses it, and the estimate and the report beside it."""

import re
from typing import Any

from django.http import StreamingHttpResponse
from rest_framework.request import Request
from rest_framework.response import Response

from kit.errors import BadRequest
from kit.ids import parse_id
from kit.pages import cursor_page
from kit.schema import describe, paging, query
from tenants.api import TenantAPIView
from tenants.selectors import project_by_id
from training import report_schema, schema, selectors, streaming, wire
from training.models import Checkpoint, Job, JobEvent
from training.selectors.jobs import report
from training.serializers import JobChanges, JobInput, ResumeInput
from training.services import (
    job_cancel,
    job_clone,
    job_create,
    job_estimate,
    job_pause,
    job_resume,
    job_retry,
)

_METADATA = re.compile(r"metadata\[(.{1,64})\]")
PAGING = paging(default=20, maximum=100)
METADATA = query(
    "metadata",
    str,
    "`metadata[key]=value` for jobs with that pair, any number of times; `metadata=null` for jobs without any.",
)
NO_SUCH = "The base, a file or the dataset version is not there for this key."
UNREADY = "The file or version is still being read; ask again in a moment."
UNFIT = "The rows are of another kind than the task trains on."


class JobsView(TenantAPIView):
    """Create and list."""

    required_scopes = {"GET": "jobs.read", "POST": "jobs.write"}

    @describe(
        name="fine_tuning_jobs_create",
        takes=JobInput,
        answers=schema.JOB,
        refuses={
            404: NO_SUCH,
            422: UNFIT,
            429: "As many jobs wait as the plan allows.",
        },
        once=True,
        example={
            "model": "all-MiniLM-L6-v2",
            "training_file": "file-…",
            "suffix": "support",
            "x_max_price_usd": 5,
            "x_deploy": True,
        },
    )
    def post(self, request: Request) -> Response:
        """Create a job

        It begins by reading its files: a file known to be unusable is refused here with every problem named, and one
        still being read ends the job if it turns out to be. The price is reserved up to the ceiling before it runs.
        """

        def create() -> dict[str, Any]:
            job = job_create(
                project=project_by_id(self.caller.project_id),
                wanted=self.read(JobInput),
                key_id=self.caller.key_id,
                by=self.caller.actor_label,
            )
            return wire.job_object(job)

        return self.create_once(request, create)

    @describe(name="fine_tuning_jobs_list", answers=schema.JOBS, fields=[METADATA, *PAGING], maps=["metadata"])
    def get(self, request: Request) -> Response:
        """List jobs

        The project's jobs, newest first.
        """
        pairs, none = _metadata_filter(request.query_params)
        rows = selectors.jobs(self.caller.project_id, metadata=pairs, no_metadata=none)
        return Response(
            cursor_page(
                rows,
                request.query_params,
                parse=lambda text: parse_id(Job.prefix, text),
                render=wire.job_object,
            )
        )


class EstimateView(TenantAPIView):
    """What a job would cost."""

    required_scopes = {"POST": "jobs.read"}

    @describe(
        name="fine_tuning_jobs_estimate",
        takes=JobInput,
        answers=schema.ESTIMATE,
        refuses={404: NO_SUCH, 409: UNREADY, 422: UNFIT},
        example={"model": "all-MiniLM-L6-v2", "training_file": "file-…"},
    )
    def post(self, request: Request) -> Response:
        """Estimate a job

        Price, time and findings for the body of a create. It costs nothing and changes nothing.
        """
        wanted = self.read(JobInput)
        return Response(job_estimate(project=project_by_id(self.caller.project_id), wanted=wanted))


class JobView(TenantAPIView):
    """One job."""

    required_scopes = {"GET": "jobs.read"}

    @describe(name="fine_tuning_jobs_retrieve", answers=schema.JOB)
    def get(self, request: Request, job: str) -> Response:
        """Retrieve a job

        As it stands now: progress, time left, cost so far, and what it waits for.
        """
        return Response(wire.job_object(selectors.job_by_public_id(self.caller.project_id, job)))


class CancelView(TenantAPIView):
    """Stop a job."""

    required_scopes = {"POST": "jobs.write"}

    @describe(name="fine_tuning_jobs_cancel", answers=schema.JOB, refuses={409: "The job has ended in another way."})
    def post(self, request: Request, job: str) -> Response:
        """Cancel a job

        At once while it waits, within seconds while it runs. A cancelled job costs nothing. Twice answers the same.
        """
        found = selectors.job_by_public_id(self.caller.project_id, job)
        return Response(wire.job_object(job_cancel(job=found)))


class PauseView(TenantAPIView):
    """Take a job out for a while."""

    required_scopes = {"POST": "jobs.write"}

    @describe(name="fine_tuning_jobs_pause", answers=schema.JOB, refuses={409: "It has ended, or is still checked."})
    def post(self, request: Request, job: str) -> Response:
        """Pause a job

        At once while it waits; while it runs, as soon as its checkpoint is written. Its price stays reserved. Twice
        answers the same.
        """
        found = selectors.job_by_public_id(self.caller.project_id, job)
        return Response(wire.job_object(job_pause(job=found)))


class ResumeView(TenantAPIView):
    """And let it go on."""

    required_scopes = {"POST": "jobs.write"}

    @describe(
        name="fine_tuning_jobs_resume",
        takes=ResumeInput,
        answers=schema.JOB,
        refuses={
            402: "A spend limit cannot carry the higher ceiling.",
            409: "The job has ended, or staff hold it.",
            429: "As many jobs wait as the plan allows.",
        },
        example={},
    )
    def post(self, request: Request, job: str) -> Response:
        """Resume a job

        Back into the queue, and on from its last checkpoint. A job that stopped at its price ceiling needs a higher
        one.
        """
        found = selectors.job_by_public_id(self.caller.project_id, job)
        ceiling = self.read(ResumeInput).get("x_max_price_usd")
        return Response(wire.job_object(job_resume(job=found, ceiling_nano=ceiling)))


class RetryView(TenantAPIView):
    """The same once more."""

    required_scopes = {"POST": "jobs.write"}

    @describe(
        name="fine_tuning_jobs_retry",
        answers=schema.JOB,
        refuses={
            404: NO_SUCH,
            409: "The job neither failed nor was cancelled.",
            429: "As many wait as the plan allows.",
        },
        once=True,
    )
    def post(self, request: Request, job: str) -> Response:
        """Retry a job

        A new job that asks for the same as one that failed or was cancelled.
        """

        def create() -> dict[str, Any]:
            found = selectors.job_by_public_id(self.caller.project_id, job)
            project = project_by_id(self.caller.project_id)
            again = job_retry(project=project, job=found, key_id=self.caller.key_id, by=self.caller.actor_label)
            return wire.job_object(again)

        return self.create_once(request, create)


class CloneView(TenantAPIView):
    """Another one like it."""

    required_scopes = {"POST": "jobs.write"}

    @describe(
        name="fine_tuning_jobs_clone",
        takes=JobChanges,
        answers=schema.JOB,
        refuses={404: NO_SUCH, 422: UNFIT, 429: "As many wait as the plan allows."},
        once=True,
        example={"x_method": "full", "hyperparameters": {"n_epochs": 5}},
    )
    def post(self, request: Request, job: str) -> Response:
        """Clone a job

        A new job like this one, whatever became of it, with the given fields in place of its own.
        """

        def create() -> dict[str, Any]:
            found = selectors.job_by_public_id(self.caller.project_id, job)
            clone = job_clone(
                project=project_by_id(self.caller.project_id),
                job=found,
                changes=self.read(JobChanges),
                key_id=self.caller.key_id,
                by=self.caller.actor_label,
            )
            return wire.job_object(clone)

        return self.create_once(request, create)


class StreamView(TenantAPIView):
    """What happens, as it happens."""

    required_scopes = {"GET": "jobs.read"}

    @describe(
        name="fine_tuning_jobs_stream",
        answers={(200, "text/event-stream"): bytes},
        fields=[query("after", int, "Only events with a higher number; the header `Last-Event-ID` says the same.")],
        refuses={429: "The organization has too many streams open."},
    )
    def get(self, request: Request, job: str) -> StreamingHttpResponse:
        """Stream a job's events

        Server-sent events: `event` for each event with its number as id, `job` when the job has changed, `done` when it
        has ended. It closes after five minutes; come back with `Last-Event-ID` and nothing is missed.
        """
        found = selectors.job_by_public_id(self.caller.project_id, job)
        said = request.headers.get("Last-Event-ID") or request.query_params.get("after") or "0"
        if not said.isascii() or not said.isdigit() or len(said) > 18:
            raise BadRequest("The number of an event, 0 or more.", param="after")
        messages = streaming.stream(self.caller.tenant_id, self.caller.project_id, found.pk, after=int(said))
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingHttpResponse(messages, content_type="text/event-stream", headers=headers)


class EventsView(TenantAPIView):
    """What happened."""

    required_scopes = {"GET": "jobs.read"}

    @describe(name="fine_tuning_jobs_events", answers=schema.EVENTS, fields=PAGING)
    def get(self, request: Request, job: str) -> Response:
        """List events

        What happened in the job, newest first.
        """
        found = selectors.job_by_public_id(self.caller.project_id, job)
        return Response(
            cursor_page(
                selectors.events(found),
                request.query_params,
                parse=lambda text: parse_id(JobEvent.prefix, text),
                render=wire.event_object,
            )
        )


class CheckpointsView(TenantAPIView):
    """Resumable states."""

    required_scopes = {"GET": "jobs.read"}

    @describe(name="fine_tuning_jobs_checkpoints", answers=schema.CHECKPOINTS, fields=paging(default=10, maximum=100))
    def get(self, request: Request, job: str) -> Response:
        """List checkpoints

        The states the job can resume from, newest first. A run of a few seconds makes none.
        """
        found = selectors.job_by_public_id(self.caller.project_id, job)
        return Response(
            cursor_page(
                selectors.checkpoints(found),
                request.query_params,
                parse=lambda text: parse_id(Checkpoint.prefix, text),
                render=lambda row: wire.checkpoint_object(row, found),
                default=10,
            )
        )


class ReportView(TenantAPIView):
    """How good the model is."""

    required_scopes = {"GET": "jobs.read"}

    @describe(
        name="fine_tuning_jobs_report",
        answers=report_schema.REPORT,
        refuses={409: "The job has not finished, or ended without a model."},
    )
    def get(self, request: Request, job: str) -> Response:
        """Retrieve the report

        Every figure is measured on rows held out from training and has its n and a 95 % interval.
        """
        return Response(report(selectors.job_by_public_id(self.caller.project_id, job)))


class MetricsView(TenantAPIView):
    """The numbers behind the charts."""

    required_scopes = {"GET": "jobs.read"}

    @describe(name="fine_tuning_jobs_metrics", answers=schema.METRICS)
    def get(self, request: Request, job: str) -> Response:
        """Retrieve the charts' numbers

        Each series of the run, thinned to at most 2,000 points with its extremes kept.
        """
        found = selectors.job_by_public_id(self.caller.project_id, job)
        return Response({"object": "fine_tuning.job.metrics", "series": selectors.metric_points(found)})


def _metadata_filter(query: Any) -> tuple[dict[str, str], bool]:
    """(wanted pairs, whether only jobs without metadata are wanted) of `metadata[k]=v` or `metadata=null`."""
    pairs: dict[str, str] = {}
    for name in query:
        match = _METADATA.fullmatch(name)
        if match:
            pairs[match[1]] = query[name]
    if "metadata" in query and query["metadata"] != "null":
        raise BadRequest("Filter with metadata[key]=value, or metadata=null for jobs without any.", param="metadata")
    if len(pairs) > 16 or any("\x00" in text for pair in pairs.items() for text in pair):
        raise BadRequest("At most 16 metadata pairs, without NUL characters.", param="metadata")
    return pairs, "metadata" in query
