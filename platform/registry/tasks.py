"""Doorbells of this room."""

from celery import shared_task

from registry import services

SCHEDULE = {"registry.purge": 600, "registry.artefacts": 21_600}


@shared_task(name="registry.purge")
def purge() -> int:
    """Remove the weights of models that were deleted long ago; returns how many models."""
    return services.models_purge()


@shared_task(name="registry.artefacts")
def artefacts() -> int:
    """Remove stored artefacts that nothing points at; returns how many."""
    return services.artefacts_sweep()
