"""`/v1/deployments`."""

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from kit.ids import parse_id
from kit.pages import cursor_page
from kit.schema import describe, paging
from serving import dedicated, pools, schema, selectors, services
from serving.models import Deployment
from serving.serializers import DeploymentChange, DeploymentCreate
from tenants.api import TenantAPIView
from tenants.models import Project


class DeploymentsView(TenantAPIView):
    """The project's deployments."""

    required_scopes = {"GET": "deployments.read", "POST": "deployments.write"}

    @describe(name="deployments_list", answers=schema.DEPLOYMENTS, fields=paging(default=20, maximum=100))
    def get(self, request: Request) -> Response:
        """List deployments

        The project's deployments, newest first, those that ended too.
        """
        return Response(
            cursor_page(
                selectors.deployments(self.caller.project_id),
                request.query_params,
                parse=lambda text: parse_id(Deployment.prefix, text),
                render=selectors.wire,
            )
        )

    @describe(
        name="deployments_create",
        takes=DeploymentCreate,
        answers=schema.DEPLOYMENT,
        refuses={
            404: "No such model in the key's project.",
            409: "The version is deployed already, the model cannot be served, the plan allows no more deployments, or "
            "has no engines for `dedicated`, or none are free.",
        },
        once=True,
        example={"model": "ft:all-MiniLM-L6-v2:acme:support:…", "alias": "triage@prod"},
    )
    def post(self, request: Request) -> Response:
        """Deploy a model

        On the shared engines, where it costs nothing while nobody calls it, or on `dedicated` ones of its own, each
        paid by the second that it is ready. It goes live within seconds, once its served answers equal those of
        training.
        """
        body = self.read(DeploymentCreate)

        def create() -> dict[str, Any]:
            made = services.deployment_create(
                project=Project.objects.get(pk=self.caller.project_id),
                model=body["model"],
                alias=body.get("alias", ""),
                version=body.get("version"),
                dedicated=pools.Wish(**body["dedicated"]) if body.get("dedicated") is not None else None,
                precision=body.get("precision"),
                created_by=self.caller.actor_label,
            )
            return selectors.wire(made)

        return self.create_once(request, create)


class DeploymentView(TenantAPIView):
    """One deployment."""

    required_scopes = {"GET": "deployments.read", "POST": "deployments.write", "DELETE": "deployments.write"}

    @describe(name="deployments_retrieve", answers=schema.DEPLOYMENT_WHOLE)
    def get(self, request: Request, deployment: str) -> Response:
        """Retrieve a deployment

        With its history.
        """
        found = selectors.deployment_by_id(self.caller.project_id, deployment)
        events = [
            {"state": event.state, "message": event.message, "created_at": int(event.created_at.timestamp())}
            for event in selectors.deployment_events(found)
        ]
        return Response(selectors.wire(found) | {"events": events})

    @describe(
        name="deployments_update",
        takes=DeploymentChange,
        answers=schema.DEPLOYMENT,
        refuses={
            400: "The model's held-out rows do not support the precision; the message says what they do. Or this "
            "installation offers no engines of one's own.",
            409: "The plan has no engines of its own, or none are free. Or an alias was sent for what has ended.",
        },
        example={"precision": 0.95},
    )
    def post(self, request: Request, deployment: str) -> Response:
        """Change a deployment

        `alias`: a second name for calls stands for its version from now on, wherever it stood before.

        `precision`: it answers only where at least a share of its answers is right, as measured on rows that had no
        part in training; below, it abstains. A call's own `x_abstain` goes before it.

        `dedicated`: engines of its own, more or fewer of them, or with null the shared ones again. No call fails for
        it: a live deployment stays with the shared engines until the first of its own is ready.
        """
        body = self.read(DeploymentChange)
        found = selectors.deployment_by_id(self.caller.project_id, deployment)
        if "dedicated" in body:
            wish = pools.Wish(**body["dedicated"]) if body["dedicated"] is not None else None
            found = dedicated.deployment_dedicated_set(deployment=found, wish=wish)
        if "alias" in body:
            services.deployment_alias_set(deployment=found, alias=body["alias"])
        if "precision" in body:
            services.deployment_precision_set(deployment=found, precision=body["precision"])
        return Response(selectors.wire(selectors.deployment_by_id(self.caller.project_id, deployment)))

    @describe(name="deployments_delete", answers=schema.DEPLOYMENT_STOPPED)
    def delete(self, request: Request, deployment: str) -> Response:
        """Stop a deployment

        Calls answer 404 within seconds. The model stays and can be deployed again. Twice answers the same.
        """
        found = selectors.deployment_by_id(self.caller.project_id, deployment)
        stopped = services.deployment_stop(deployment=found)
        return Response({"id": stopped.public_id, "object": "deployment", "deleted": True, "state": stopped.state})
