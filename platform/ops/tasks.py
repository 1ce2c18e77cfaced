"""What staff must hear of, looked for regularly."""

from celery import shared_task

from ops.alerts import alerts_look


@shared_task(name="ops.alerts")
def alerts() -> int:
    """Open and end alerts."""
    return alerts_look()


SCHEDULE = {"ops.alerts": 30}
