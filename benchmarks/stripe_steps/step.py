"""What a step of the tour is, and what steps remember for one another."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import stripe

DAY = 86400


class NotReached(Exception):
    """An earlier step did not leave what this one needs."""


class Memory:
    """Ids and objects by name; asking for one that no step left raises NotReached."""

    def __init__(self) -> None:
        self.__dict__["_kept"] = {}

    def __setattr__(self, name: str, value: Any) -> None:
        self._kept[name] = value

    def __getattr__(self, name: str) -> Any:
        if name not in self._kept:
            raise NotReached(name)
        return self._kept[name]


@dataclass
class Tour:
    """The client, and what was made with it. Names carry a tail of their own, so that a tour can be taken again."""

    client: stripe.StripeClient
    hook: str
    """Where a webhook endpoint may be: Stripe takes no local address, the emulator no other."""
    streams: str = ""
    """Where streams of meter events go, if not to Stripe's own address."""
    tail: str = field(default_factory=lambda: secrets.token_hex(4))
    memory: Memory = field(default_factory=Memory)

    @property
    def v1(self) -> Any:
        """The v1 services, without their types: a step asks for what the documentation names."""
        return self.client.v1

    def advance(self, clock: str, to: int) -> Any:
        """Move a test clock and wait until it is ready."""
        self.v1.test_helpers.test_clocks.advance(clock, {"frozen_time": to})
        return self.until(lambda: self._ready(clock), 120)

    def _ready(self, clock: str) -> Any:
        found = self.v1.test_helpers.test_clocks.retrieve(clock)
        return found if found.status == "ready" else None

    def until(self, look: Callable[[], Any], seconds: float = 60) -> Any:
        """Look again until there is something: much of Stripe happens a moment later."""
        end = time.monotonic() + seconds
        while not (found := look()):
            assert time.monotonic() < end, "it did not happen in time"
            time.sleep(0.2)
        return found


@dataclass(frozen=True)
class Step:
    """One call, what is documented of it, and the check."""

    family: str
    call: str
    documented: str
    run: Callable[[Tour], None]


STEPS: list[Step] = []


def step(family: str, call: str) -> Callable[[Callable[[Tour], None]], Callable[[Tour], None]]:
    """Add a step. Its docstring says what Stripe documents."""

    def note(run: Callable[[Tour], None]) -> Callable[[Tour], None]:
        STEPS.append(Step(family, call, " ".join((run.__doc__ or "").split()), run))
        return run

    return note


def same(seen: Any, wanted: Any, what: str = "") -> None:
    """Fail with both values when they are not equal."""
    assert seen == wanted, f"{what or 'value'}: {seen!r}, documented {wanted!r}"


def refused(call: Callable[[], Any], *, status: int, code: str | None = None) -> stripe.StripeError:
    """The error that a call must end in."""
    try:
        call()
    except stripe.StripeError as error:
        same(error.http_status, status, "HTTP status")
        if code is not None:
            same(error.code, code, "error code")
        return error
    raise AssertionError("it was accepted")
