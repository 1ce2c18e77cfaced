"""Reading jobs.

jobs.py     lists, one job, checkpoints, attempts, reports
events.py   events_after(job, seq) and metric_points(job): what a live page shows
sweeps.py   sweeps, their trials, how far they are
queue.py    positions, reasons and waiting times
"""

from training.selectors.events import events, events_after, metric_points
from training.selectors.jobs import checkpoints, job_by_id, job_by_public_id, jobs, report
from training.selectors.queue import Waiting, places, wait_seconds, waiting
from training.selectors.sweeps import Standing, losers_seen, standing, sweep_by_public_id, sweeps, trials_of

__all__ = [
    "Standing",
    "Waiting",
    "checkpoints",
    "events",
    "events_after",
    "job_by_id",
    "job_by_public_id",
    "jobs",
    "losers_seen",
    "metric_points",
    "places",
    "report",
    "standing",
    "sweep_by_public_id",
    "sweeps",
    "trials_of",
    "wait_seconds",
    "waiting",
]
