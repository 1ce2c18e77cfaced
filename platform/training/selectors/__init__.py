"""Reading jobs.

jobs.py     lists, one job, checkpoints, attempts, reports
events.py   events_after(job, seq) and metric_points(job): what a live page shows
queue.py    positions, reasons and waiting times
"""

from training.selectors.events import events, events_after, metric_points
from training.selectors.jobs import checkpoints, job_by_id, job_by_public_id, jobs, report
from training.selectors.queue import Waiting, places, wait_seconds, waiting

__all__ = [
    "Waiting",
    "checkpoints",
    "events",
    "events_after",
    "job_by_id",
    "job_by_public_id",
    "jobs",
    "metric_points",
    "places",
    "report",
    "wait_seconds",
    "waiting",
]
