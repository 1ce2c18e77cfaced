"""`/v1/models`: what may be tuned, and what was made. Ids hold colons and may hold slashes, escaped or not."""

from collections import defaultdict
from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from kit.errors import PermissionDenied
from kit.schema import describe
from registry import schema, selectors, wire
from registry.bases import catalogue
from registry.models import Alias, ModelVersion
from registry.plans import current_plan
from registry.services import model_delete
from tenants.api import TenantAPIView


class ModelsView(TenantAPIView):
    """All models of the key's project, and the bases its plan may tune."""

    required_scopes = {"GET": "models.read"}

    @describe(name="models_list", answers=schema.MODELS)
    def get(self, request: Request) -> Response:
        """List models

        The bases that the plan may tune, and the project's own models; on one page.
        """
        data = [wire.base_object(base) for base in selectors.bases(plan=current_plan())]
        models = list(selectors.models(self.caller.project_id))
        newest: dict[Any, ModelVersion] = {}
        ready = ModelVersion.objects.filter(model__in=models, state=ModelVersion.State.READY).defer("report", "files")
        for version in ready.order_by("number"):
            newest[version.model_id] = version
        aliases: dict[Any, list[Alias]] = defaultdict(list)
        for alias in selectors.aliases(self.caller.project_id):
            aliases[alias.version.model_id].append(alias)
        data += [
            wire.model_object(
                model, owner=self.caller.tenant_slug, version=newest.get(model.id), aliases=aliases[model.id]
            )
            for model in models
        ]
        return Response({"object": "list", "data": data})


class ModelView(TenantAPIView):
    """One model by its name."""

    required_scopes = {"GET": "models.read", "DELETE": "models.write"}

    @describe(name="models_retrieve", answers=schema.MODEL)
    def get(self, request: Request, model: str) -> Response:
        """Retrieve a model

        A base, or a model of the project.
        """
        if model in catalogue():
            return Response(wire.base_object(selectors.base_by_name(model, plan=current_plan())))
        found = selectors.model_by_name(self.caller.project_id, model)
        aliases = [alias for alias in selectors.aliases(self.caller.project_id) if alias.version.model_id == found.id]
        return Response(
            wire.model_object(
                found, owner=self.caller.tenant_slug, version=selectors.version_newest(found), aliases=aliases
            )
        )

    @describe(
        name="models_delete",
        answers=schema.MODEL_DELETED,
        refuses={403: "It is a base, or the key lacks the scope.", 409: "The model is deployed. Stop it first."},
    )
    def delete(self, request: Request, model: str) -> Response:
        """Delete a model

        Its name answers 404 at once and its aliases are gone. For 30 days the console can bring it back; then its
        weights are removed. Jobs, usage and bills stay.
        """
        if model in catalogue():
            raise PermissionDenied(
                f"'{model}' is a base that everybody shares; it cannot be deleted. Name a model of your own.",
                code="base_model",
                param="model",
            )
        found = selectors.model_by_name(self.caller.project_id, model)
        model_delete(model=found)
        return Response({"id": found.name, "object": "model", "deleted": True})
