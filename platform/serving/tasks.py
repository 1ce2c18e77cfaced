"""Doorbells of this room. Each names ids; what is true stands in PostgreSQL."""

from uuid import UUID

from celery import shared_task

from serving import after_training, engines, idling, metering, pins, pools, requests, rollout_tick, services, texts

SCHEDULE = {
    "serving.deployments_sweep": 15,
    "serving.replicas_write_down": 5,
    "serving.pools_scale": 5,
    "serving.engines_meter": 5,
    "serving.machines_seen": 60,
    "serving.requests_prune": 3_600,
    "serving.texts_prune": 3_600,
    "serving.rollouts_tick": 5,
    "serving.deployments_idle": 600,
    "serving.pins_settle": 60,
}


@shared_task(name=services.LOAD)
def deployment_load(tenant_id: str, deployment_id: str) -> str:
    """Load and check one deployment."""
    return services.deployment_load(tenant_id=UUID(tenant_id), deployment_id=UUID(deployment_id))


@shared_task(name=services.UNLOAD)
def deployment_unload(tenant_id: str, version: str) -> None:
    """Free the memory of a stopped deployment."""
    services.deployment_unload(tenant_id=UUID(tenant_id), version=version)


@shared_task(name=after_training.TASK_NAME)
def deploy_when_gate_passes(tenant_id: str, version_id: str) -> str:
    """Deploy what a job made, where the job asked for it."""
    return after_training.deploy_when_gate_passes(tenant_id=UUID(tenant_id), version_id=UUID(version_id))


@shared_task(name="serving.deployments_sweep")
def deployments_sweep() -> int:
    """Ring again for what still loads."""
    return services.deployments_sweep()


@shared_task(name="serving.machines_seen")
def machines_seen() -> int:
    """Count the time of the engines that are there."""
    return engines.engines_seen()


@shared_task(name="serving.requests_prune")
def requests_prune() -> int:
    """Forget requests that are too old."""
    return requests.requests_prune()


@shared_task(name="serving.rollouts_tick")
def rollouts_tick() -> int:
    """Decide about rollouts that run."""
    return rollout_tick.rollouts_tick()


@shared_task(name="serving.deployments_idle")
def deployments_idle() -> int:
    """Note who was called, and what nobody calls."""
    return idling.deployments_idle()


@shared_task(name="serving.texts_prune")
def texts_prune() -> int:
    """Forget texts that were kept long enough."""
    return texts.texts_prune()


@shared_task(name="serving.replicas_write_down")
def replicas_write_down() -> int:
    """Write down which engines announce themselves."""
    return engines.replicas_write_down()


@shared_task(name="serving.pools_scale")
def pools_scale() -> int:
    """Decide how many engines dedicated deployments should have."""
    return pools.scale()


@shared_task(name="serving.engines_meter")
def engines_meter() -> int:
    """Count how long deployments' own engines were ready."""
    return metering.engines_meter()


@shared_task(name="serving.pins_settle")
def pins_settle() -> int:
    """Let engines keep in memory what staff want kept, and nothing else."""
    return pins.pins_settle()
