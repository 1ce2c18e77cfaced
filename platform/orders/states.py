"""The life of an order as one table. Pure: who may take which step from where, and where it leads.

`submitted → assessing → quoting → quoted → accepted → working → delivered → closed`; `declined` by us and `cancelled`
by the customer before anything is accepted; from `delivered` back to `working` under the warranty.
"""

from dataclasses import dataclass

SUBMITTED, ASSESSING, QUOTING, QUOTED = "submitted", "assessing", "quoting", "quoted"
ACCEPTED, WORKING, DELIVERED, CLOSED = "accepted", "working", "delivered", "closed"
DECLINED, CANCELLED = "declined", "cancelled"

CUSTOMER, STAFF, SYSTEM = "customer", "staff", "system"
"""Who takes a step. The system: what follows from a payment, an acceptance or a date."""

BEFORE_QUOTE = (SUBMITTED, ASSESSING, QUOTING)
BEFORE_CONTRACT = (*BEFORE_QUOTE, QUOTED)
"""States in which nobody owes anybody anything."""
UNDER_CONTRACT = (ACCEPTED, WORKING, DELIVERED)
OVER = (CLOSED, DECLINED, CANCELLED)
EVERY = (*BEFORE_CONTRACT, *UNDER_CONTRACT, *OVER)


@dataclass(frozen=True, slots=True)
class Step:
    """One step: from which states, by whom, and the state it leads to."""

    before: tuple[str, ...]
    by: tuple[str, ...]
    after: str


STEPS: dict[str, Step] = {
    "assess": Step((SUBMITTED, QUOTING), (STAFF,), ASSESSING),
    "start_quote": Step((SUBMITTED, ASSESSING), (STAFF,), QUOTING),
    "send_quote": Step((QUOTING, QUOTED), (STAFF,), QUOTED),
    "withdraw_quote": Step((QUOTED,), (STAFF, SYSTEM), QUOTING),
    "accept": Step((QUOTED,), (CUSTOMER,), ACCEPTED),
    "start_work": Step((ACCEPTED,), (SYSTEM, STAFF), WORKING),
    "deliver": Step((WORKING,), (SYSTEM,), DELIVERED),
    "retrain": Step((DELIVERED,), (STAFF, CUSTOMER), WORKING),
    "close": Step((DELIVERED,), (STAFF, SYSTEM), CLOSED),
    "decline": Step(BEFORE_CONTRACT, (STAFF,), DECLINED),
    "cancel": Step(BEFORE_CONTRACT, (CUSTOMER,), CANCELLED),
}


def allowed(state: str, step: str, by: str) -> bool:
    """Whether somebody may take a step now."""
    found = STEPS[step]
    return state in found.before and by in found.by


def after(state: str, step: str, by: str) -> str:
    """The state a step leads to; ValueError where it may not be taken."""
    if not allowed(state, step, by):
        raise ValueError(f"no step {step!r} from {state!r} by {by!r}")
    return STEPS[step].after
