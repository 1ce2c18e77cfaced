"""`/v1/deployments`."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from kit.ids import parse_id
from kit.pages import cursor_page
from serving import selectors, services
from serving.models import Deployment
from serving.serializers import DeploymentCreate
from tenants.api import TenantAPIView
from tenants.models import Project


class DeploymentsView(TenantAPIView):
    """The project's deployments."""

    required_scopes = {"GET": "deployments.read", "POST": "deployments.write"}

    @extend_schema(operation_id="deployments_list", responses=dict)
    def get(self, request: Request) -> Response:
        """A page, newest first."""
        return Response(
            cursor_page(
                selectors.deployments(self.caller.project_id),
                request.query_params,
                parse=lambda text: parse_id(Deployment.prefix, text),
                render=selectors.wire,
            )
        )

    @extend_schema(request=DeploymentCreate, responses=dict)
    def post(self, request: Request) -> Response:
        """Deploy a model."""
        body = self.read(DeploymentCreate)

        def create() -> dict[str, Any]:
            made = services.deployment_create(
                project=Project.objects.get(pk=self.caller.project_id),
                model=body["model"],
                alias=body.get("alias", ""),
                created_by=self.caller.actor_label,
            )
            return selectors.wire(made)

        return self.create_once(request, create)


class DeploymentView(TenantAPIView):
    """One deployment."""

    required_scopes = {"GET": "deployments.read", "DELETE": "deployments.write"}

    @extend_schema(responses=dict)
    def get(self, request: Request, deployment: str) -> Response:
        """Retrieve it, with what happened."""
        found = selectors.deployment_by_id(self.caller.project_id, deployment)
        events = [
            {"state": event.state, "message": event.message, "created_at": int(event.created_at.timestamp())}
            for event in selectors.deployment_events(found)
        ]
        return Response(selectors.wire(found) | {"events": events})

    @extend_schema(responses=dict)
    def delete(self, request: Request, deployment: str) -> Response:
        """Stop it."""
        found = selectors.deployment_by_id(self.caller.project_id, deployment)
        stopped = services.deployment_stop(deployment=found)
        return Response({"id": stopped.public_id, "object": "deployment", "deleted": True, "state": stopped.state})
