"""Who is to write next in a thread. Pure.

A thread waits for staff (open, reopened), for the customer (waiting), or for nobody (solved). Whoever writes hands it
to the other side, and a customer who writes in a solved one reopens it.
"""

from typing import Literal

OPEN, WAITING, SOLVED, REOPENED = "open", "waiting", "solved", "reopened"
STATES = (OPEN, WAITING, SOLVED, REOPENED)
FOR_STAFF = (OPEN, REOPENED)
"""States in which staff are to write."""

Event = Literal["asked", "answered", "solved"]
"""The customer wrote, staff wrote, either side said that it is done."""


def after(state: str, event: Event) -> str:
    """The state that follows. Every event has an effect in every state, or none."""
    if event == "solved":
        return SOLVED
    if event == "answered":
        return WAITING
    return {OPEN: OPEN, WAITING: OPEN, SOLVED: REOPENED, REOPENED: REOPENED}[state]
