"""`/v1/batches`, as the official client uses it."""

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from batches import schema, selectors, services, wire
from batches.models import Batch
from batches.serializers import BatchCreate
from kit.ids import parse_id
from kit.pages import cursor_page
from kit.schema import describe, paging
from tenants.api import TenantAPIView
from tenants.selectors import project_by_id


class BatchesView(TenantAPIView):
    """The project's batches."""

    required_scopes = {"GET": "jobs.read", "POST": "inference"}

    @describe(name="batches_list", answers=schema.BATCHES, fields=paging(default=20, maximum=100))
    def get(self, request: Request) -> Response:
        """List batches

        The project's batches, newest first.
        """
        return Response(
            cursor_page(
                selectors.batches(self.caller.project_id),
                request.query_params,
                parse=lambda text: parse_id(Batch.prefix, text),
                render=wire.batch_object,
            )
        )

    @describe(
        name="batches_create",
        takes=BatchCreate,
        answers=schema.BATCH,
        refuses={404: "No such file in the key's project.", 429: "100 batches of the organisation are open."},
        once=True,
        example={"input_file_id": "file-…", "endpoint": "/v1/classify", "completion_window": "24h"},
    )
    def post(self, request: Request) -> Response:
        """Create a batch

        Calls that may wait, at half the price. Every line of the file is checked first; a file with problems fails as a
        whole, with all of them listed, and costs nothing.
        """
        body = self.read(BatchCreate)
        expires = body.get("output_expires_after")

        def create() -> dict[str, Any]:
            made = services.batch_create(
                project=project_by_id(self.caller.project_id),
                input_file_id=body["input_file_id"],
                endpoint=body["endpoint"],
                metadata=body.get("metadata"),
                output_seconds=int(expires["seconds"]) if expires else None,
                key_id=self.caller.key_id,
                by=self.caller.actor_label,
            )
            return wire.batch_object(made)

        return self.create_once(request, create)


class BatchView(TenantAPIView):
    """One batch."""

    required_scopes = {"GET": "jobs.read"}

    @describe(name="batches_retrieve", answers=schema.BATCH)
    def get(self, request: Request, batch: str) -> Response:
        """Retrieve a batch

        As it stands now: counts, tokens, cost, and what it waits for.
        """
        return Response(wire.batch_object(selectors.batch_get(self.caller.project_id, batch)))


class BatchCancelView(TenantAPIView):
    """Stop a batch."""

    required_scopes = {"POST": "inference"}

    @describe(name="batches_cancel", answers=schema.BATCH, refuses={409: "It has ended in another way."})
    def post(self, request: Request, batch: str) -> Response:
        """Cancel a batch

        Within seconds. Answers that came are kept and paid for; the other lines stand in the error file with
        `batch_cancelled` and cost nothing. Twice answers the same.
        """
        found = selectors.batch_get(self.caller.project_id, batch)
        return Response(wire.batch_object(services.batch_cancel(batch=found)))
