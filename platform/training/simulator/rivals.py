"""Other rules, to compare with: what users of a plain queue get, and fair shares without lending."""

from __future__ import annotations

from typing import Any, Protocol

from training.scheduling.dispatch import Preemption, Start, next_start, preemptions
from training.scheduling.picture import Picture


class Rule(Protocol):
    """What may start on a host, and whom to ask for room."""

    name: str

    def start(self, picture: Picture, host: Any) -> Start | None:
        """The next job of a host, or None."""

    def make_room(self, picture: Picture) -> list[Preemption]:
        """Runs to ask for room."""


class Fair:
    """Ours."""

    name = "fair"

    def start(self, picture: Picture, host: Any) -> Start | None:
        """As `training.scheduling.dispatch`."""
        return next_start(picture, host)

    def make_room(self, picture: Picture) -> list[Preemption]:
        """As `training.scheduling.dispatch`."""
        return preemptions(picture)


class Unguaranteed(Fair):
    """Ours, but nobody is ever asked to make room."""

    name = "fair, no preemption"

    def make_room(self, picture: Picture) -> list[Preemption]:
        """Nobody."""
        return []


class Fifo:
    """First come, first served, within the plans' parallel jobs: the queue most platforms have."""

    name = "fifo"

    def start(self, picture: Picture, host: Any) -> Start | None:
        """The oldest that fits."""
        free = [place for place in picture.places if place.host == host and place.job is None]
        if not free:
            return None
        for head in sorted(picture.heads, key=lambda one: (one.since, one.job)):
            found = picture.usable(head, free)
            if picture.within_limit(head) and len(found) >= head.width:
                return Start(head, tuple(found[: head.width]))
        return None

    def make_room(self, picture: Picture) -> list[Preemption]:
        """Nobody."""
        return []


class Capped(Fifo):
    """Hard shares: a tenant never has more than its guarantee (at least one place), whatever stands idle."""

    name = "hard caps"

    def start(self, picture: Picture, host: Any) -> Start | None:
        """By recent machine time, within the cap."""
        free = [place for place in picture.places if place.host == host and place.job is None]
        if not free:
            return None
        for head in sorted(picture.heads, key=picture.turn):
            share = picture.shares[head.tenant]
            cap = max(share.guaranteed, 1, head.width)
            found = picture.usable(head, free)
            if share.running + head.width <= cap and len(found) >= head.width:
                return Start(head, tuple(found[: head.width]))
        return None
