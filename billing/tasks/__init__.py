"""The room's tasks, one module per subject; `SCHEDULE` joins what beat rings."""

from billing.tasks import economics, metering, subscriptions

SCHEDULE = {**subscriptions.SCHEDULE, **metering.SCHEDULE, **economics.SCHEDULE}
