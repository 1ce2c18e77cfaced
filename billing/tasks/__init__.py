"""The room's tasks, one module per subject; `SCHEDULE` joins what beat rings."""

from billing.tasks import subscriptions

SCHEDULE = {**subscriptions.SCHEDULE}
