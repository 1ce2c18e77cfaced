"""Changes to jobs.

jobs.py       create, estimate, cancel: what a person or a key asks for
pausing.py    out of the queue or off its machine, and back
again.py      a new job from an earlier one
intake.py     files into a dataset version, and the findings that stop a job
queueing.py   validating_files -> queued: spec, estimate, reservation
claiming.py   queued -> leased: fair, limited, one short transaction
shares.py     a tenant's standing: its plan's limits, its recent machine time
sharing.py    whether its jobs may train in one process with those of others
leases.py     what only the holder of a lease may write
endings.py    how an attempt ends, and with it perhaps the job
announcing.py the end of a job or sweep, to the project's webhooks
mailing.py    the end of a job, to whoever asked for it
limiting.py   jobs that a spend limit or a suspension stops
sweeping.py   leases nobody renews
events.py     the log of a job
sweeps.py     create, estimate, cancel a sweep
sweep_pricing.py  what its trials may cost
losing.py     the models of its losers, deleted and brought back together
trials.py     what a sweep does by itself: start the next trials, end
money.py      reserve and settle, through billing
"""

from training.services.again import job_clone, job_retry
from training.services.jobs import job_cancel, job_create, job_estimate
from training.services.losing import losers_delete, losers_restore
from training.services.pausing import job_pause, job_resume
from training.services.sharing import sharing_set
from training.services.sweeps import sweep_cancel, sweep_create, sweep_estimate

__all__ = [
    "job_cancel",
    "job_clone",
    "job_create",
    "job_estimate",
    "job_pause",
    "job_resume",
    "job_retry",
    "losers_delete",
    "losers_restore",
    "sharing_set",
    "sweep_cancel",
    "sweep_create",
    "sweep_estimate",
]
