"""The gateway as the metering tests start it: a base that writes in its catalogue, short lives of reservations, and a
moment to die at. Import it in no test: it changes what it imports.

`CHAOS` in the environment is a JSON object: `life`, milliseconds of a reservation's life, `dies`, one of
`borders.BORDERS`, and `at`, how many times that border is passed alive.
"""

import itertools
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import django

django.setup()

from billing.metering.spool import SpoolWriter  # noqa: E402 - after the set-up
from billing.quotas import QuotaGate  # noqa: E402
from gateway.asgi import application  # noqa: E402
from gateway.calls import Call  # noqa: E402
from gateway.writing import metered  # noqa: E402
from registry.bases import Base, catalogue  # noqa: E402
from tests.chaos.borders import BORDERS  # noqa: E402
from tests.gateway.writing_engine import CONTEXT, WRITER  # noqa: E402

changes = json.loads(os.environ.get("CHAOS", "{}"))
catalogue()[WRITER] = Base(
    WRITER, Path("/nonexistent"), CONTEXT, {"model.safetensors": "0" * 64}, tasks=("text-generation",)
)
if "life" in changes:
    metered.LIFE_MS, metered.RENEW_SECONDS = changes["life"], changes["life"] / 3000
    for reserves in (QuotaGate.admit, Call.metered):
        (reserves.__kwdefaults__ or {})["life_ms"] = changes["life"]


def die() -> None:
    """As when the machine's power goes."""
    os.kill(os.getpid(), signal.SIGKILL)


def dying(step: Callable[..., Any], passes: int, *, after: bool) -> Callable[..., Any]:
    """The step, which kills the process when it is done, or to be done, for the last time."""
    counted = itertools.count()

    def act(*args: Any, **kwargs: Any) -> Any:
        last = next(counted) == passes
        if last and not after:
            die()
        found = step(*args, **kwargs)
        if last and after:
            die()
        return found

    return act


def dying_later(step: Callable[..., Any], passes: int) -> Callable[..., Any]:
    """The same for a coroutine, after it."""
    counted = itertools.count()

    async def act(*args: Any, **kwargs: Any) -> Any:
        found = await step(*args, **kwargs)
        if next(counted) == passes:
            die()
        return found

    return act


def torn(step: Callable[..., Any], passes: int) -> Callable[..., Any]:
    """An event whose line is not finished when the process dies."""
    counted = itertools.count()

    def append(spool: SpoolWriter, event: Any) -> Any:
        if next(counted) == passes:
            os.write(spool._file, b'000001c2 0badc0de {"event_id":"019b')
            die()
        return step(spool, event)

    return append


if "dies" in changes:
    room, name, after = BORDERS[changes["dies"]]
    step, passes = getattr(room, name), changes.get("at", 5)
    if changes["dies"] == "written in half":
        made = torn(step, passes)
    elif name in ("admit", "extend_by", "answer"):
        made = dying_later(step, passes)
    else:
        made = dying(step, passes, after=after)
    setattr(room, name, made)

__all__ = ["application"]
