"""What a kind of command to Stripe consists of; the kinds are in `services.operations`."""

import dataclasses
from collections.abc import Callable

from billing.models import StripeCommand
from billing.stripe_port import Json, StripePort

AGAIN, ASK, DROP = "again", "ask", "drop"
"""What to do a day later with a command of which nothing is found at Stripe: send it, ask a person, or let it be."""


NOT_NEEDED = "not_needed"
"""Marks what was dropped before it was sent."""


class NotYet(Exception):
    """Something has to be at Stripe first."""


class NotNeeded(Exception):
    """What it was for is not so any more."""


def nothing(command: StripeCommand) -> None:
    """Nothing follows."""


def never(port: StripePort, command: StripeCommand) -> Json | None:
    """Not to be found by reading."""
    return None


@dataclasses.dataclass(frozen=True, slots=True)
class Operation:
    """How one kind of command is made, sent, found again and taken in."""

    build: Callable[[StripeCommand], Json]
    """The request, from what is known when it is first sent; NotYet, or NotNeeded."""
    send: Callable[[StripePort, Json, str], Json]
    """Ask Stripe, under a key; what is worth keeping of the answer."""
    look: Callable[[StripePort, StripeCommand], Json | None] = never
    """The answer, read from what Stripe has, where the command was carried out."""
    apply: Callable[[StripeCommand], None] = nothing
    """What the answer changes here, in the transaction that notes it."""
    after: Callable[[StripeCommand], None] = nothing
    """What to fetch then, so that a page need not wait for the webhook."""
    late: str = AGAIN
    shown: bool = False
    """Somebody waits for it at a page and hears of a no there."""
