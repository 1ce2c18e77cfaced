"""What the engine asks of a causal base, whatever computes it: our own decoder (`causal`) or vLLM (`vllm`).

Neither this module nor anything it imports brings torch along.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from inference import wire
from inference.adapters import Adapter
from inference.artefact import RecordedTexts, read_writing_artefact
from inference.errors import BadArtefact, BadBias, BadRequest, EngineError
from inference.geometry import Sizes
from inference.tasks import TEXT_GENERATION

PAUSE_SECONDS = 60.0
"""How long a text waits for an allowance before it is ended where it stands."""
HELD_TOKENS = 8  # told at the latest, with or without text
MOST_CHOICES = 128
MOST_STOPS = 16

Event = wire.Piece | wire.Generated | EngineError


@dataclass(frozen=True, slots=True, eq=False)
class WritingModel:
    """A tenant's adapter on a causal base, ready to write."""

    tenant: str
    model: str
    sha256: str
    base: str
    method: str
    max_length: int
    adapter: Adapter
    recorded: RecordedTexts | None
    bytes: int

    @property
    def labels(self) -> list[str]:
        """None: it writes text."""
        return []

    @property
    def task(self) -> str:
        """As `artefact.json` names it."""
        return TEXT_GENERATION


class WritingRequest(Protocol):
    """A request that is being written."""

    def allow(self, tokens: int, *, last: bool) -> None:
        """Raise what it may write over all choices; `last`: there will be no more."""
        ...

    def cancel(self) -> None:
        """Nobody waits for it any more."""
        ...


class CausalBase(Protocol):
    """A base that writes. Called on the engine's event loop, but for `build`."""

    def start(self) -> None:
        """Begin."""
        ...

    async def stop(self) -> None:
        """End what computes it."""
        ...

    @property
    def busy(self) -> int:
        """Texts that run or wait."""
        ...

    def build(self, message: wire.Load, folder: Path) -> WritingModel:
        """Read an artefact, on the loader's thread. Raises `BadArtefact` or `NoRoom`."""
        ...

    async def render(self, message: wire.Render, model: WritingModel | None) -> wire.Rendered:
        """Prompts as tokens."""
        ...

    async def generate(
        self, message: wire.Generate, model: WritingModel | None, answer: Callable[[Event], None]
    ) -> WritingRequest:
        """Queue a text; `answer` is called on the event loop for each event in order. Raises of the `EngineError`s."""
        ...

    async def parity(self, message: wire.Parity, model: WritingModel) -> wire.ParityReport:
        """Compare the recorded texts with what serving gives. Raises `BadArtefact`."""
        ...

    def report(self) -> wire.WriterReport:
        """How it stands."""
        ...


def build(message: wire.Load, folder: Path, geometry: Sizes, limit: int) -> WritingModel:
    """A model from its artefact, for a base that reads `limit` tokens. Raises `BadArtefact`."""
    artefact = read_writing_artefact(folder, message.sha256, geometry)
    manifest = artefact.manifest
    adapter = Adapter.build(manifest.lora, artefact.adapter, geometry)
    return WritingModel(
        message.tenant, message.model, message.sha256, manifest.base, manifest.method,
        min(manifest.max_length, limit), adapter, artefact.recorded, adapter.bytes,
    )  # fmt: skip


def check(message: wire.Generate, limit: int, vocabulary: int) -> None:
    """Whether a request can be written at all. Raises `BadRequest`."""
    sampling = message.sampling
    if not message.prompt:
        raise BadRequest("The prompt is empty.")
    if min(message.prompt) < 0 or max(message.prompt) >= vocabulary:
        raise BadRequest(f"The prompt holds token numbers outside 0 to {vocabulary - 1}.")
    if not 1 <= message.choices <= MOST_CHOICES:
        raise BadRequest(f"The number of choices must be from 1 to {MOST_CHOICES}.")
    if sampling.max_tokens < 1 or message.allowed < 1:
        raise BadRequest("At least one token must be allowed.")
    if len(message.prompt) + sampling.max_tokens > limit:
        raise BadRequest(
            f"{len(message.prompt)} tokens of prompt and {sampling.max_tokens} of output are more than the "
            f"{limit} that the model reads."
        )
    if len(sampling.stop) > MOST_STOPS:
        raise BadRequest(f"At most {MOST_STOPS} stops are possible.")
    if sampling.bias and not (min(sampling.bias) >= 0 and max(sampling.bias) < vocabulary):
        raise BadBias(f"A bias names a token outside 0 to {vocabulary - 1}.")


def recorded_texts(model: WritingModel, vocabulary: int) -> RecordedTexts:
    """What training recorded of a model, if it can be read here. Raises `BadArtefact`."""
    if model.recorded is None:
        raise BadArtefact("The artefact holds no parity.json, so serving cannot be compared with training.")
    for text in model.recorded.sequences:
        if len(text.tokens) > model.max_length or max(text.tokens) >= vocabulary:
            raise BadArtefact("parity.json holds a text that the model cannot read.")
    return model.recorded
