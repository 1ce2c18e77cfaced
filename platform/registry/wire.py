"""Models in the words of the OpenAI wire, with our own fields after `x_`."""

from typing import Any

from kit.clock import unix
from kit.ids import public_id
from registry.bases import Base
from registry.models import Alias, Model, ModelVersion
from registry.services import LIVE

OWNER = "tunesmith"


def base_object(base: Base) -> dict[str, Any]:
    """A base that may be tuned."""
    return {
        "id": base.name,
        "object": "model",
        "created": base.created,
        "owned_by": OWNER,
        "x_kind": "base",
        "x_tasks": list(base.tasks),
        "x_methods": list(base.methods),
        "x_max_length": base.max_length,
        "x_parameters": base.parameters,
        "x_licence": base.licence,
        "x_sha256": base.fingerprint,
    }


def model_object(
    model: Model, *, owner: str, version: ModelVersion | None, aliases: list[Alias] | None = None
) -> dict[str, Any]:
    """A project's own model. `x_state` is ready, loading, live, stopped or failed."""
    body: dict[str, Any] = {
        "id": model.name,
        "object": "model",
        "created": unix(model.created_at),
        "owned_by": owner,
        "x_kind": "tuned",
        "x_state": model.serving if model.serving in LIVE else "ready",
        "x_base": model.base,
        "x_tasks": [model.task],
        "x_aliases": [str(alias) for alias in aliases or []],
    }
    if version is not None:
        body |= {
            "x_version": version.number,
            "x_method": version.method,
            "x_labels": len(version.labels),
            "x_metrics": version.metrics,
            "x_size_bytes": version.size_bytes,
            "x_artefact_sha256": version.artefact_sha256,
            "x_job": public_id("ftjob-", version.job_id) if version.job_id else None,
            "x_dataset_version": public_id("dsv_", version.dataset_version_id) if version.dataset_version_id else None,
        }
    return body
