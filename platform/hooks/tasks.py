"""Doorbells of this room. None carries authority: each looks in the database for what is due."""

from celery import current_app, shared_task

from hooks import delivery, services


@shared_task(name=services.DELIVER)
def deliver() -> int:
    """Send what is due."""
    return delivery.deliver_due()


@shared_task(name="hooks.tick")
def tick() -> bool:
    """Ring again for what is due: a retry's time has come, or a doorbell was lost."""
    due = delivery.is_due()
    if due:  # worthless in five seconds, since the next tick rings again
        current_app.send_task(services.DELIVER, queue="default", expires=5, retry=False)
    return due


@shared_task(name="hooks.keep")
def keep() -> dict[str, int]:
    """Remove old events; seal secrets under the newest key."""
    return {"expired": services.events_expire(), "resealed": services.secrets_renew()}


SCHEDULE = {"hooks.tick": 3, "hooks.keep": 600}
