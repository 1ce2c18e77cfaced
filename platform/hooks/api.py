"""`/v1/webhook_endpoints`, as the official client manages them, and our own log of deliveries."""

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from hooks import schema, selectors, services
from hooks.addresses import url_look
from hooks.catalogue import EVENT_TYPES
from hooks.errors import NoAnswer
from hooks.models import Delivery, Endpoint
from hooks.serializers import EndpointChange, EndpointCreate, EndpointTest, SecretRotate
from hooks.trying import endpoint_try
from kit import sealing
from kit.ids import parse_id
from kit.pages import cursor_page
from kit.schema import describe, paging
from tenants.access import AuthContext
from tenants.api import PreparedView, TenantAPIView
from tenants.models import Project
from tenants.scope import tenant_scope

EXAMPLE = {
    "name": "job-bot",
    "url": "https://hooks.example.com/tunesmith",
    "event_types": ["fine_tuning.job.succeeded", "fine_tuning.job.failed"],
}
REFUSED = "The URL is not https, names no public host, or does not resolve; or a type is unknown."


class EndpointsView(PreparedView):
    """The project's endpoints."""

    required_scopes = {"GET": "webhooks.read", "POST": "webhooks.write"}

    def prepare(self, request: Request, caller: AuthContext, **kwargs: Any) -> None:
        """Resolve the URL's host while no transaction waits."""
        url_look(self.read(EndpointCreate)["url"])

    @describe(name="webhook_endpoints_list", answers=schema.ENDPOINTS, fields=paging(default=20, maximum=100))
    def get(self, request: Request) -> Response:
        """List webhook endpoints

        The project's endpoints, newest first, disabled ones too.
        """
        return Response(
            cursor_page(
                selectors.endpoints(self.caller.project_id),
                request.query_params,
                parse=lambda text: parse_id(Endpoint.prefix, text),
                render=selectors.endpoint_object,
            )
        )

    @describe(
        name="webhook_endpoints_create",
        takes=EndpointCreate,
        answers=schema.ENDPOINT_WITH_SECRET,
        refuses={400: REFUSED, 409: f"The project has {services.MOST_ENDPOINTS} endpoints, the most it may."},
        once=True,
        example=EXAMPLE,
    )
    def post(self, request: Request) -> Response:
        """Create a webhook endpoint

        The answer holds the signing secret, this once. Events that happen from now on are sent.
        """
        body = self.read(EndpointCreate)

        def create() -> dict[str, Any]:
            project = Project.objects.get(pk=self.caller.project_id)
            made, _secret = services.endpoint_create(project=project, created_by=self.caller.actor_label, **body)
            return selectors.endpoint_object(made)

        answer = self.create_once(request, create)
        # What is kept for a repeated create holds no secret: it is added to the answer, from where it lies sealed.
        found = selectors.endpoint_by_id(self.caller.project_id, answer.data["id"])
        answer.data = {**answer.data, "signing_secret": sealing.unseal(found.secret)}
        return answer


class EndpointView(PreparedView):
    """One endpoint."""

    required_scopes = {"GET": "webhooks.read", "POST": "webhooks.write", "DELETE": "webhooks.write"}

    def prepare(self, request: Request, caller: AuthContext, **kwargs: Any) -> None:
        """Resolve a new URL's host while no transaction waits; nothing is looked up for a stranger's id."""
        if request.method != "POST":
            return
        with tenant_scope(caller.tenant_id):
            selectors.endpoint_by_id(caller.project_id, kwargs["webhook_endpoint"])
        url = self.read(EndpointChange).get("url")
        if url is not None:
            url_look(url)

    @describe(name="webhook_endpoints_retrieve", answers=schema.ENDPOINT)
    def get(self, request: Request, webhook_endpoint: str) -> Response:
        """Retrieve a webhook endpoint

        Without its secret: what is left of that is a hint.
        """
        return Response(selectors.endpoint_object(selectors.endpoint_by_id(self.caller.project_id, webhook_endpoint)))

    @describe(
        name="webhook_endpoints_update",
        takes=EndpointChange,
        answers=schema.ENDPOINT,
        refuses={400: REFUSED},
        example={"event_types": list(EVENT_TYPES)},
    )
    def post(self, request: Request, webhook_endpoint: str) -> Response:
        """Change a webhook endpoint

        Fields left out stay. Deliveries that wait go to the new URL.
        """
        body = self.read(EndpointChange)
        row = selectors.endpoint_by_id(self.caller.project_id, webhook_endpoint)
        state = body.pop("x_state", None)
        row = services.endpoint_change(endpoint=row, **body)
        if state == Endpoint.State.ENABLED:
            row = services.endpoint_enable(endpoint=row)
        elif state == Endpoint.State.DISABLED:
            row = services.endpoint_disable(endpoint=row)
        return Response(selectors.endpoint_object(row))

    @describe(name="webhook_endpoints_delete", answers=schema.ENDPOINT_DELETED)
    def delete(self, request: Request, webhook_endpoint: str) -> Response:
        """Delete a webhook endpoint

        With its log. What waited is not sent.
        """
        row = selectors.endpoint_by_id(self.caller.project_id, webhook_endpoint)
        identifier = row.public_id
        services.endpoint_delete(endpoint=row)
        return Response({"id": identifier, "object": "webhook_endpoint.deleted", "deleted": True})


class RotateView(TenantAPIView):
    """A new secret."""

    required_scopes = {"POST": "webhooks.write"}

    @describe(
        name="webhook_endpoints_rotate_secret",
        takes=SecretRotate,
        answers=schema.ENDPOINT_WITH_SECRET,
        example={"keep_old_secret_active_for_24_hours": True},
    )
    def post(self, request: Request, webhook_endpoint: str) -> Response:
        """Rotate the signing secret

        The answer holds the new one, this once.
        """
        row = selectors.endpoint_by_id(self.caller.project_id, webhook_endpoint)
        keep = self.read(SecretRotate)["keep_old_secret_active_for_24_hours"]
        rotated, secret = services.endpoint_rotate(endpoint=row, keep_old=keep)
        return Response(selectors.endpoint_object(rotated, secret=secret))


class TestView(PreparedView):
    """A sample event, now."""

    required_scopes = {"POST": "webhooks.write"}
    answer: dict[str, Any]

    def prepare(self, request: Request, caller: AuthContext, **kwargs: Any) -> None:
        """Send it while no transaction waits."""
        with tenant_scope(caller.tenant_id):
            row = selectors.endpoint_by_id(caller.project_id, kwargs["webhook_endpoint"])
        kind = self.read(EndpointTest)["event_type"]
        said = endpoint_try(endpoint=row, type=kind)
        if said.status is None:
            raise NoAnswer(f"The test was not answered. {said.error}", param="webhook_endpoint_id")
        self.answer = {
            "object": "webhook_endpoint.test",
            "event_type": kind,
            "status_code": said.status,
            "success": True,
            "webhook_endpoint_id": row.public_id,
        }

    @describe(
        name="webhook_endpoints_test",
        takes=EndpointTest,
        answers=schema.TESTED,
        refuses={422: "No answer in HTTP came within 15 seconds; the message says why.", 429: "One test in 5 seconds."},
        example={"event_type": "fine_tuning.job.succeeded"},
    )
    def post(self, request: Request, webhook_endpoint: str) -> Response:
        """Test a webhook endpoint

        Sends one signed sample event, at once and without retries, to a disabled endpoint too. It is not in the log.
        """
        return Response(self.answer)


class DeliveriesView(TenantAPIView):
    """The log of an endpoint."""

    required_scopes = {"GET": "webhooks.read"}

    @describe(name="webhook_endpoints_deliveries", answers=schema.DELIVERIES, fields=paging(default=20, maximum=100))
    def get(self, request: Request, webhook_endpoint: str) -> Response:
        """List deliveries of a webhook endpoint

        Of the last 30 days, newest first, each with its tries.
        """
        row = selectors.endpoint_by_id(self.caller.project_id, webhook_endpoint)
        page = cursor_page(
            selectors.deliveries(row),
            request.query_params,
            parse=lambda text: parse_id(Delivery.prefix, text),
            render=lambda delivery: {"id": delivery.public_id, "row": delivery},
        )
        rows = [item["row"] for item in page["data"]]
        made = selectors.tries(rows)
        page["data"] = [selectors.delivery_object(delivery, made.get(delivery.pk, [])) for delivery in rows]
        return Response(page)


class ReplayView(TenantAPIView):
    """Once more."""

    required_scopes = {"POST": "webhooks.write"}

    @describe(
        name="webhook_endpoints_replay",
        answers=schema.DELIVERY,
        refuses={409: "The endpoint is disabled. Enable it first."},
    )
    def post(self, request: Request, webhook_endpoint: str, delivery: str) -> Response:
        """Replay a delivery

        Sends the event again, under its own id, with the whole schedule of tries.
        """
        row = selectors.endpoint_by_id(self.caller.project_id, webhook_endpoint)
        found = services.delivery_replay(delivery=selectors.delivery_by_id(row, delivery))
        return Response(selectors.delivery_object(found, selectors.tries([found]).get(found.pk, [])))


class EventTypesView(TenantAPIView):
    """What can be asked for."""

    required_scopes = {"GET": "webhooks.read"}

    @describe(name="webhook_event_types_list", answers=schema.TYPES)
    def get(self, request: Request) -> Response:
        """List event types

        What an endpoint can be told of.
        """
        return Response({"object": "list", "data": list(EVENT_TYPES)})
