"""Messages about models in memory."""

from __future__ import annotations

from inference.tasks import CLASSIFICATION
from inference.wire.base import Message


class Load(Message, tag="load", frozen=True, gc=False):
    """Bring an artefact into memory. `sha256` vouches for its `artefact.json`, which vouches for the other files.

    The files lie in `folder` on the engine's machine, or else behind `urls`: file name to signed address. `pin`: keep
    it whatever else is loaded (true), no longer (false), or leave that as it is (None). Where pins take all that they
    may, it is loaded all the same, and the answer says that it is not pinned.
    """

    id: int
    tenant: str
    model: str
    folder: str
    sha256: str
    urls: dict[str, str] = {}
    pin: bool | None = None


class Unload(Message, tag="unload", frozen=True, gc=False):
    """Forget a model; work already queued for it is finished."""

    id: int
    tenant: str
    model: str


class Describe(Message, tag="describe", frozen=True, gc=False):
    """Facts about a resident model. A version never changes, so callers may keep the answer."""

    id: int
    tenant: str
    model: str


class Described(Message, tag="described", frozen=True, gc=False):
    """Answer to `load` and `describe`. `cold_ms`: what bringing it in took just now; 0 for what was here."""

    id: int
    model: str
    base: str
    method: str
    labels: list[str]
    max_length: int
    bytes: int
    task: str = CLASSIFICATION
    pinned: bool = False
    cold_ms: int = 0


class Done(Message, tag="done", frozen=True, gc=False):
    """Answer to `unload`; `found` is false if the model was not in memory."""

    id: int
    found: bool


class Parity(Message, tag="parity", frozen=True, gc=False):
    """Compare the serving path with the probabilities recorded at training time."""

    id: int
    tenant: str
    model: str


class ParityReport(Message, tag="parity_report", frozen=True, gc=False):
    """`worst` and `mean` are absolute differences in probability, or in a token's log-probability where text is
    written; `flips` counts answers that changed for good."""

    id: int
    passed: bool
    n: int
    worst: float
    mean: float
    flips: int
    tolerance: float
