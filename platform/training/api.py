"""`/v1/fine_tuning/jobs` as the official client uses it, and the estimate and the report beside it."""

import re
from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from kit.errors import BadRequest
from kit.ids import parse_id
from kit.pages import cursor_page
from tenants.api import TenantAPIView
from tenants.selectors import project_by_id
from training import selectors, wire
from training.models import Checkpoint, Job, JobEvent
from training.selectors.jobs import report
from training.serializers import JobInput
from training.services import job_cancel, job_create, job_estimate

_METADATA = re.compile(r"metadata\[(.{1,64})\]")
PAGING = [
    OpenApiParameter("after", str, description="Id of the last object of the page before."),
    OpenApiParameter("limit", int, description="Objects on a page."),
    OpenApiParameter("order", str, enum=["asc", "desc"], description="By creation."),
]
METADATA = OpenApiParameter("metadata", str, description="metadata[key]=value, or null for jobs without any.")
_LIST_FIELDS = frozenset({"after", "limit", "order", "metadata"})


class JobsView(TenantAPIView):
    """Create and list."""

    required_scopes = {"GET": "jobs.read", "POST": "jobs.write"}

    @extend_schema(request=JobInput, responses=dict)
    def post(self, request: Request) -> Response:
        """Create a job; a repeated create answers the first one's job."""

        def create() -> dict[str, Any]:
            job = job_create(
                project=project_by_id(self.caller.project_id),
                wanted=self.read(JobInput),
                key_id=self.caller.key_id,
                by=self.caller.actor_label,
            )
            return wire.job_object(job)

        return self.create_once(request, create)

    @extend_schema(operation_id="fine_tuning_jobs_list", parameters=[METADATA, *PAGING], responses=dict)
    def get(self, request: Request) -> Response:
        """List, newest first, filtered by metadata."""
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

    @extend_schema(request=JobInput, responses=dict)
    def post(self, request: Request) -> Response:
        """Price, time and findings for the body of a create."""
        wanted = self.read(JobInput)
        return Response(job_estimate(project=project_by_id(self.caller.project_id), wanted=wanted))


class JobView(TenantAPIView):
    """One job."""

    required_scopes = {"GET": "jobs.read"}

    @extend_schema(responses=dict)
    def get(self, request: Request, job: str) -> Response:
        """Retrieve."""
        return Response(wire.job_object(selectors.job_by_public_id(self.caller.project_id, job)))


class CancelView(TenantAPIView):
    """Stop a job."""

    required_scopes = {"POST": "jobs.write"}

    @extend_schema(request=None, responses=dict)
    def post(self, request: Request, job: str) -> Response:
        """Cancel; twice answers the same, after another end 409."""
        found = selectors.job_by_public_id(self.caller.project_id, job)
        return Response(wire.job_object(job_cancel(job=found)))


class EventsView(TenantAPIView):
    """What happened."""

    required_scopes = {"GET": "jobs.read"}

    @extend_schema(parameters=PAGING, responses=dict)
    def get(self, request: Request, job: str) -> Response:
        """A page of events, newest first."""
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

    @extend_schema(parameters=PAGING, responses=dict)
    def get(self, request: Request, job: str) -> Response:
        """A page of checkpoints, newest first."""
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

    @extend_schema(responses=dict)
    def get(self, request: Request, job: str) -> Response:
        """The report as JSON; 409 while there is none."""
        return Response(report(selectors.job_by_public_id(self.caller.project_id, job)))


class MetricsView(TenantAPIView):
    """The numbers behind the charts."""

    required_scopes = {"GET": "jobs.read"}

    @extend_schema(responses=dict)
    def get(self, request: Request, job: str) -> Response:
        """Each series, at most 2,000 points."""
        found = selectors.job_by_public_id(self.caller.project_id, job)
        return Response({"object": "fine_tuning.job.metrics", "series": selectors.metric_points(found)})


def _metadata_filter(query: Any) -> tuple[dict[str, str], bool]:
    """(wanted pairs, whether only jobs without metadata are wanted) of `metadata[k]=v` or `metadata=null`."""
    pairs: dict[str, str] = {}
    for name in query:
        match = _METADATA.fullmatch(name)
        if match:
            pairs[match[1]] = query[name]
        elif name not in _LIST_FIELDS:
            raise BadRequest(f"Unknown query field '{name[:80]}'.", param=name[:80])
    if "metadata" in query and query["metadata"] != "null":
        raise BadRequest("Filter with metadata[key]=value, or metadata=null for jobs without any.", param="metadata")
    if len(pairs) > 16 or any("\x00" in text for pair in pairs.items() for text in pair):
        raise BadRequest("At most 16 metadata pairs, without NUL characters.", param="metadata")
    return pairs, "metadata" in query
