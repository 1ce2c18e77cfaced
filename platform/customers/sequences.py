"""Which hints are due to whom. Pure.

Each goes once to each owner of an organisation, within its days and not after: somebody who comes late to us, or to
whom we come late, gets no letter about a day long past.
"""

import datetime as dt
from dataclasses import dataclass

WELCOME, FIRST_MODEL, FIRST_CALL, ALLOWANCE_NEAR = (
    "welcome",
    "first_model",
    "first_call",
    "allowance_near",
)
HINTS = (WELCOME, FIRST_MODEL, FIRST_CALL, ALLOWANCE_NEAR)
DAY = dt.timedelta(days=1)
SOON, WELCOME_UNTIL = dt.timedelta(minutes=10), 2 * DAY
MODEL_AFTER, CALL_AFTER, LATEST = 3 * DAY, 7 * DAY, 14 * DAY
NEAR_PERCENT = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of an organisation."""

    signed_up: dt.datetime
    models: int = 0
    calls: int = 0
    free: bool = True
    used_nano: int = 0
    """This month."""
    allowance_nano: int = 0
    """Included in the plan, a month."""


def due(facts: Facts, at: dt.datetime) -> tuple[str, ...]:
    """The hints whose time it is, whether or not they went already."""
    age = at - facts.signed_up
    conditions = {
        WELCOME: SOON <= age < WELCOME_UNTIL,
        FIRST_MODEL: MODEL_AFTER <= age < LATEST and not facts.models,
        FIRST_CALL: CALL_AFTER <= age < LATEST and facts.models > 0 and not facts.calls,
        ALLOWANCE_NEAR: facts.free
        and facts.allowance_nano > 0
        and 100 * facts.used_nano >= NEAR_PERCENT * facts.allowance_nano,
    }
    return tuple(hint for hint in HINTS if conditions[hint])
