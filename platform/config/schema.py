"""The OpenAPI document: the views' own declarations, with the scope, the refusals and the paths' words added."""

import copy
import inspect
from typing import Any

from drf_spectacular.openapi import AutoSchema

from billing.schema import USAGE_KIND
from gateway.schema import PATHS
from gateway.schema.base import ERROR
from kit.schema import COMPONENTS

USAGE = "/v1/organization/usage/"
PATH_WORDS = {
    "file_id": ("The file's id.", "file-…"),
    "upload_id": ("The upload's id.", "upload_…"),
    "dataset_id": ("The dataset's id.", "ds_…"),
    "version_id": ("The version's id.", "dsv_…"),
    "job": ("The job's id.", "ftjob-…"),
    "sweep": ("The sweep's id.", "sweep_…"),
    "batch": ("The batch's id.", "batch_…"),
    "order": ("The order's id.", "order_…"),
    "deployment": ("The deployment's id.", "dep_…"),
    "rollout": ("The rollout's id.", "rollout_…"),
    "invoice": ("The invoice's id.", "inv_…"),
    "month": ("The month.", "2026-10"),
    "event": ("The event's id.", "uev_…"),
    "request_id": ("The request's id: its answer's `x-request-id`.", "req_…"),
    "webhook_endpoint": ("The endpoint's id.", "we_…"),
    "delivery": ("The delivery's id.", "whd_…"),
    "model": ("The model's name. Colons may stand as they are or escaped.", "ft:all-MiniLM-L6-v2:acme:support:…"),
}
REFUSALS = {
    400: "The request is wrong: a field or query field is unknown, missing or out of its range; `param` names it.",
    401: "The key is missing, malformed, unknown, revoked or expired.",
    403: "The key lacks the scope, or the organisation is suspended.",
}
NOT_HERE = "No such object in the key's project."
IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "schema": {"type": "string", "maxLength": 255},
    "description": (
        "A name for this create, of your choice. The same name with the same body answers the first result again for "
        "24 hours and creates nothing; with another body it is refused with 422."
    ),
}


class Reference(AutoSchema):
    """spectacular's, plus what every route of ours has."""

    def get_summary(self) -> str:
        """The first line of the method's docstring."""
        return self._words()[0]

    def get_description(self) -> str:  # type: ignore[override] # as spectacular has it
        """The rest of it, a line for each paragraph."""
        return "\n\n".join(" ".join(part.split()) for part in self._words()[1].split("\n\n")).strip()

    def _words(self) -> tuple[str, str]:
        title, _, rest = (inspect.getdoc(getattr(self.view, self.method.lower())) or "").partition("\n")
        return title.rstrip("."), rest

    def get_operation(self, *args: Any, **kwargs: Any) -> Any:
        """The operation with its scope, its refusals and a word for each part of the path."""
        operation = super().get_operation(*args, **kwargs)
        if not operation:
            return operation
        method = getattr(self.view, self.method.lower())
        scope = getattr(self.view, "required_scopes", {}).get(self.method)
        operation["x-scope"] = scope
        parameters = operation.setdefault("parameters", [])
        for one in parameters:
            if one["in"] == "path":
                one["description"], one["schema"]["example"] = PATH_WORDS[one["name"]]
        refusals = REFUSALS | ({404: NOT_HERE} if any(one["in"] == "path" for one in parameters) else {})
        refusals |= getattr(method, "refusals", {})
        if getattr(method, "once", False):
            parameters.append(IDEMPOTENCY_KEY)
        for status, words in sorted(refusals.items()):
            operation["responses"][str(status)] = {
                "description": words,
                "content": {"application/json": {"schema": ERROR}},
            }
        example = getattr(method, "example", None)
        if example is not None:
            operation["requestBody"]["content"]["application/json"]["example"] = example
        return operation


def only_public_api(endpoints: list[Any]) -> list[Any]:
    """Keep what stands under /v1."""
    return [endpoint for endpoint in endpoints if endpoint[0].startswith("/v1/")]


def add_gateway_paths(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """The gateway is no Django view, so its room describes its paths itself; named objects come from all rooms."""
    result["paths"].update(copy.deepcopy(PATHS))
    result["components"].setdefault("schemas", {}).update(copy.deepcopy(COMPONENTS))
    return result


def one_usage_path(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """The routes of usage differ in one word: they are one path with that word as its parameter."""
    paths = result["paths"]
    found = [path for path in paths if path.startswith(USAGE)]
    if found:
        operation = paths[found[0]]["get"]
        operation["parameters"] = [USAGE_KIND, *operation["parameters"]]
        for path in found:
            del paths[path]
        paths[USAGE + "{kind}"] = {"get": operation}
    return result
