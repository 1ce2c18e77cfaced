"""What rings in the queues of this run's workers."""

from celery import current_app


def forget(*queues: str) -> None:
    """No doorbell of another test rings in a worker that is started now: theirs speak of servers that are gone, or of
    hundreds of jobs that nobody waits for."""
    with current_app.connection_for_write() as connection:
        for queue in queues:
            connection.default_channel.queue_purge(queue)
