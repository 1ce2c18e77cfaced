"""A causal base in memory with everything around it: what the engine holds for each of them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inference import wire
from inference.adapters import Adapter, lanes_of
from inference.artefact import Text
from inference.background import standing
from inference.catalogue import Base
from inference.errors import BadRequest, NoRoom
from inference.generation import attention
from inference.generation.base import Speech
from inference.generation.decoder import Decoder
from inference.generation.seam import Event, WritingModel, build, recorded_texts
from inference.generation.turns import Limits
from inference.generation.writer import Writer, Writing
from inference.parity import WRITING_TOLERANCE
from inference.settings import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Queued:
    """A request in the writer's hands."""

    writer: Writer
    writing: Writing

    def allow(self, tokens: int, *, last: bool) -> None:
        """See `seam.WritingRequest`."""
        self.writer.allow(self.writing, tokens, last=last)

    def cancel(self) -> None:
        """See `seam.WritingRequest`."""
        self.writer.cancel(self.writing)


class Causal:
    """One causal base. Make it, and call it, on the engine's event loop; what takes long runs in threads."""

    def __init__(self, base: Base, settings: Settings, loop: asyncio.AbstractEventLoop, flush: Callable[[], None]):
        attention.register()
        device, dtype = _place(settings)
        architecture = base.architecture
        positions = min(base.max_length, architecture.positions)
        started = time.perf_counter()
        self.base, self._loop, self._flush = base, loop, flush
        self.limits = Limits(rows=settings.writing_rows)
        self.decoder = Decoder(
            base.folder, device=device, dtype=dtype, cache_bytes=settings.cache_bytes, positions=positions,
            lanes=self.limits.lanes,
        )  # fmt: skip
        self.limit = positions
        self.precision = "bf16" if dtype == torch.bfloat16 else "fp32"
        self.speech = Speech.read(base.folder, self.decoder.vocabulary)
        self.writer = Writer(self.decoder, self.speech, self.limits, self._deliver)
        log.info(
            "base %s writes: %s %s, cache of %d blocks, ready in %.1f s",
            base.name, device, str(dtype).removeprefix("torch."), self.decoder.blocks, time.perf_counter() - started,
        )  # fmt: skip

    def start(self) -> None:
        """Begin to compute."""
        self.writer.start()

    async def stop(self) -> None:
        """Finish the step at hand and end the threads."""
        await asyncio.to_thread(self.writer.stop)

    @property
    def busy(self) -> int:
        """Texts that run or wait."""
        return self.writer.busy

    def build(self, message: wire.Load, folder: Path) -> WritingModel:
        """Read an artefact, on the loader's thread. Raises `BadArtefact` or `NoRoom`."""
        model = build(message, folder, self.decoder.geometry, self.limit)
        if lanes_of(model.adapter.rank) > self.limits.lanes:
            raise NoRoom(f"An adapter of rank {model.adapter.rank} is over the {self.limits.lanes} that fit a step.")
        return model

    async def render(self, message: wire.Render, model: WritingModel | None) -> wire.Rendered:
        """Prompts as tokens, in a thread."""
        prompts = await asyncio.to_thread(self.speech.tokens, message)
        return wire.Rendered(message.id, prompts, self.limit if model is None else model.max_length)

    async def generate(
        self, message: wire.Generate, model: WritingModel | None, answer: Callable[[Event], None]
    ) -> Queued:
        """Queue a text; compiling a grammar may take a while, and happens on threads of its own."""
        adapter, limit = (None, self.limit) if model is None else (model.adapter, model.max_length)
        grammar, start = message.sampling.grammar, None
        if grammar is not None:
            start = await self.speech.grammars.begin(standing(message.tenant, message.weight).line, grammar)
        return Queued(self.writer, self.writer.submit(message, adapter, limit, answer, start))

    async def parity(self, message: wire.Parity, model: WritingModel) -> wire.ParityReport:
        """Score the recorded texts the way every prompt is read, and compare. Raises `BadArtefact`."""
        recorded = recorded_texts(model, self.decoder.vocabulary)
        differences: list[float] = []
        for text in recorded.sequences:
            differences += await self._compare(text, model.adapter)
        tolerance = WRITING_TOLERANCE[self.precision]
        worst = max(differences)
        mean = sum(differences) / len(differences)
        return wire.ParityReport(message.id, worst <= tolerance, len(differences), worst, mean, 0, tolerance)

    def report(self) -> wire.WriterReport:
        """How it stands."""
        counters, turns = self.writer.counters, self.writer.turns
        p50, p99 = counters.first_token_ms()
        return wire.WriterReport(
            base=self.base.name,
            precision=str(self.decoder.dtype).removeprefix("torch."),
            requests=counters.requests,
            read_tokens=counters.read,
            cached_tokens=counters.cached,
            written_tokens=counters.written,
            cancelled=counters.cancelled,
            refused=turns.refused,
            preempted=turns.preempted,
            running=len(turns.running),
            waiting=turns.waiting,
            blocks=turns.blocks.count,
            blocks_free=turns.blocks.free,
            first_token_p50_ms=p50,
            first_token_p99_ms=p99,
        )

    async def _compare(self, text: Text, adapter: Adapter) -> list[float]:
        """How far each token's log-probability is from the recorded one."""

        def work() -> Tensor:
            return self.decoder.score(text.tokens, text.start, adapter).cpu()

        scores = await self._asked(work)
        tokens = torch.tensor(text.tokens[text.start :])
        found = scores.gather(1, tokens[:, None])[:, 0]
        apart: list[float] = (found - torch.tensor(text.logprobs)).abs().tolist()
        return apart

    async def _asked(self, work: Callable[[], Any]) -> Any:
        done: asyncio.Future[Any] = self._loop.create_future()

        def tell(result: Any, error: Exception | None) -> None:
            if done.done():
                return
            if error is None:
                done.set_result(result)
            else:
                done.set_exception(error)

        self.writer.ask(work, tell)
        return await done

    def _deliver(self, tell: Callable[[], None]) -> None:
        """From the compute thread to the event loop; what was told leaves in one write for each connection."""

        def run() -> None:
            tell()
            self._flush()

        self._loop.call_soon_threadsafe(run)


def _place(settings: Settings) -> tuple[torch.device, torch.dtype]:
    """The device, and the precision that it computes fast: bf16 on CUDA and on CPUs that have it."""
    device = settings.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        torch.set_num_threads(settings.threads or 1)  # as in `torch_backend`: no spinning barriers
    precision = settings.precision
    if precision == "auto":
        able = device.startswith("cuda") or any(map(torch.cpu.get_capabilities().get, ("avx512_bf16", "amx_bf16")))
        precision = "bf16" if able else "fp32"
    if precision not in ("bf16", "fp32"):
        raise BadRequest(f"Unknown precision {precision!r}: write auto, bf16 or fp32.")
    return torch.device(device), torch.bfloat16 if precision == "bf16" else torch.float32
