"""What `x_deploy` asked for: serve what a job made, if its gate passed. Training rings by the task's name."""

from uuid import UUID

from kit.errors import ApiError
from registry.models import ModelVersion
from serving.services import deployment_create
from tenants.scope import tenant_scope
from training.models import Job
from training.services.events import News, events_append, warn

TASK_NAME = "serving.deploy_when_gate_passes"


def deploy_when_gate_passes(*, tenant_id: UUID, version_id: UUID) -> str:
    """Deploy a version whose gate passed; say on its job what was done and why. Safe to ring twice."""
    with tenant_scope(tenant_id):
        there = ModelVersion.objects.filter(state=ModelVersion.State.READY, model__deleted_at=None)
        version = there.select_related("model__project").filter(pk=version_id).first()
        if version is None:
            return "gone"
        news = _try(version)
        job = Job.objects.filter(pk=version.job_id).first()
        if job is not None:
            events_append(job=job, news=[news])
        return news.code


def _try(version: ModelVersion) -> News:
    gate = version.report.get("gate") or {}
    if not gate.get("passed"):
        reasons = " ".join(str(reason.get("message", "")) for reason in gate.get("reasons", []))
        return warn(f"Not deployed: the model did not pass its gate. {reasons}".strip(), code="gate_failed")
    try:
        made = deployment_create(project=version.model.project, model=version.model.name, created_by="x_deploy")
    except ApiError as error:
        return warn(f"Not deployed: {error.message}", code="not_deployed")
    return News(f"Deploying the model: {made.public_id}", code="deploying", data={"deployment": made.public_id})
