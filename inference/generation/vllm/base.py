"""A causal base at a vLLM server: what the engine holds for each of them. The counterpart of `generation.causal`."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import re
import secrets
from collections.abc import Callable
from pathlib import Path

from safetensors import safe_open

from inference import wire
from inference.artefact import Text
from inference.background import standing
from inference.catalogue import Base
from inference.errors import BadArtefact, BadRequest, EngineError, NoRoom, NotReady
from inference.generation.base import Speech
from inference.generation.counters import Counters
from inference.generation.seam import Event, WritingModel, build, check, recorded_texts
from inference.generation.turns import Limits
from inference.generation.vllm.child import Child
from inference.generation.vllm.door import COMPLETIONS, Door, UnknownName
from inference.generation.vllm.places import Places
from inference.generation.vllm.shelf import Shelf
from inference.generation.vllm.writing import Means, Writing
from inference.geometry import HubGeometry
from inference.parity import WRITING_TOLERANCE
from inference.settings import Settings

log = logging.getLogger(__name__)

START_SECONDS = 1800.0  # large weights from a slow disk, and kernels that are compiled
ASK_SECONDS = 0.5
WATCH_SECONDS = 5.0
MOST_MISSED = 3
_LINEAR = re.compile(r"(.*\.\d+\..*)\.weight")


class Causal:
    """One causal base. Make it, and call it, on the engine's event loop."""

    def __init__(self, base: Base, settings: Settings, loop: asyncio.AbstractEventLoop, flush: Callable[[], None]):
        assert base.vllm is not None, "the catalogue names vLLM as its backend"
        architecture, options = base.architecture, base.vllm
        self.base, self._options, self._loop = base, options, loop
        self.limit = min(base.max_length, architecture.positions)
        self.precision = options.precision or ("fp32" if settings.precision == "fp32" else "bf16")
        self.vocabulary = architecture.vocabulary
        self.geometry = read_geometry(base.folder, architecture.hidden, self.limit)
        self.speech = Speech.read(base.folder, self.vocabulary)
        self.counters = Counters()
        self.ready = False
        self._child: Child | None = None
        if not options.address:
            self._child = Child(base, options, settings, limit=self.limit, precision=self.precision)
        self.door = Door(
            self._child.address if self._child else options.address,
            self._child.key if self._child else settings.vllm_key,
        )
        self.shelf = Shelf(settings.depot / "vllm" / _plain(base.name), self.door, options.adapters)
        self.places = Places(Limits(rows=settings.writing_rows))
        self._salt = secrets.token_bytes(32)
        self._writings: set[Writing] = set()
        self._means = Means(
            base.name, self.door, self.shelf, self.places, self.speech, self.vocabulary, self.counters, flush
        )
        self._minding: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look after the server; `ready` once it has written something."""
        self._minding = self._loop.create_task(self._mind())

    async def stop(self) -> None:
        """End what is written, and the server if it is ours."""
        for writing in list(self._writings):
            writing.cancel()
        if self._minding is not None:
            self._minding.cancel()
            await asyncio.gather(self._minding, return_exceptions=True)
        if self._child is not None:
            await self._child.stop()
        await self.door.close()

    @property
    def busy(self) -> int:
        """Requests that are not over."""
        return len(self._writings)

    def build(self, message: wire.Load, folder: Path) -> WritingModel:
        """Read an artefact, on the loader's thread. Raises `BadArtefact` or `NoRoom`."""
        model = build(message, folder, self.geometry, self.limit)
        if model.adapter.rank > self._options.rank:
            raise NoRoom(f"An adapter of rank {model.adapter.rank} is over the {self._options.rank} of this base.")
        return model

    async def render(self, message: wire.Render, model: WritingModel | None) -> wire.Rendered:
        """Prompts as tokens, in a thread."""
        prompts = await asyncio.to_thread(self.speech.tokens, message)
        return wire.Rendered(message.id, prompts, self.limit if model is None else model.max_length)

    async def generate(
        self, message: wire.Generate, model: WritingModel | None, answer: Callable[[Event], None]
    ) -> Writing:
        """Queue a text. Raises `BadRequest`, `Overloaded`, or `NotReady` while the server is not there."""
        check(message, self.limit if model is None else model.max_length, self.vocabulary)
        grammar, start = message.sampling.grammar, None
        if grammar is not None:
            start = await self.speech.grammars.begin(standing(message.tenant, message.weight).line, grammar)
        if not self.ready:
            raise self._away()
        writing = Writing(self._means, message, model, answer, start, self._salt_of(message))
        self._writings.add(writing)
        for task in writing.tasks:
            task.add_done_callback(lambda _: self._over(writing))
        return writing

    async def parity(self, message: wire.Parity, model: WritingModel) -> wire.ParityReport:
        """Have the recorded texts read, and compare. Raises `BadArtefact`."""
        recorded = recorded_texts(model, self.vocabulary)
        if not self.ready:
            raise self._away()
        differences: list[float] = []
        async with self.shelf.using(model) as name:
            for text in recorded.sequences:
                differences += await self._compare(text, name)
        tolerance = WRITING_TOLERANCE[self.precision]
        worst, mean = max(differences), sum(differences) / len(differences)
        return wire.ParityReport(message.id, worst <= tolerance, len(differences), worst, mean, 0, tolerance)

    def report(self) -> wire.WriterReport:
        """How it stands. The server keeps its cache to itself, so there are no blocks to tell of."""
        counters, places = self.counters, self.places
        p50, p99 = counters.first_token_ms()
        return wire.WriterReport(
            base=self.base.name, precision=self.precision, requests=counters.requests, read_tokens=counters.read,
            cached_tokens=counters.cached, written_tokens=counters.written, cancelled=counters.cancelled,
            refused=places.refused, preempted=0, running=places.running, waiting=places.waiting, blocks=0,
            blocks_free=0, first_token_p50_ms=p50, first_token_p99_ms=p99, backend="vllm", ready=self.ready,
        )  # fmt: skip

    async def _compare(self, text: Text, name: str) -> list[float]:
        """How far each token's log-probability is from the recorded one. The last token is one to be read as well, so
        a token is written after it for nothing; a text that fills the context leaves its last out."""
        tokens = text.tokens[: self.limit - 1]
        body = {"model": name, "prompt": tokens, "max_tokens": 1, "temperature": 0.0, "prompt_logprobs": 0,
                "cache_salt": secrets.token_hex(16)}  # fmt: skip
        found = json.loads(await self.door.ask(COMPLETIONS, body))["choices"][0]["prompt_logprobs"]
        return [
            abs(found[place][str(tokens[place])]["logprob"] - text.logprobs[place - text.start])
            for place in range(text.start, len(tokens))
        ]

    async def _mind(self) -> None:
        """Keep a server there, and `ready` true to what it can do."""
        while True:
            try:
                if self._child is None:
                    await self._follow()
                else:
                    await self._look_after(self._child)
            except Exception:
                log.exception("looking after vLLM for base %s failed", self.base.name)
                await asyncio.sleep(WATCH_SECONDS)

    async def _look_after(self, child: Child) -> None:
        """One life of our own server."""
        child.start()
        attending = self._loop.create_task(self._attend(child))
        try:
            await child.watch()
        finally:
            self._lost()
            attending.cancel()
            await asyncio.gather(attending, return_exceptions=True)

    async def _attend(self, child: Child) -> None:
        """End a server of ours that does not begin, or falls silent: the next one may do better."""
        try:
            await self._prove_when_there()
            await self._until_silent()
        except TimeoutError:
            log.error("vLLM for base %s was not there within %.0f s", self.base.name, START_SECONDS)
        await child.end()

    async def _follow(self) -> None:
        """A server that somebody else looks after comes and goes."""
        with contextlib.suppress(TimeoutError):
            await self._prove_when_there()
            await self._until_silent()
        self._lost()

    async def _until_silent(self) -> None:
        missed = 0
        while missed < MOST_MISSED:
            await asyncio.sleep(WATCH_SECONDS)
            missed = 0 if await self.door.answers() else missed + 1

    async def _prove_when_there(self) -> None:
        """Have it write a token: what its kernels cannot compute shows only then, and so does what they compile."""
        async with asyncio.timeout(START_SECONDS):
            while not self.ready:
                if await self.door.answers():
                    body = {"model": self.base.name, "prompt": [0], "max_tokens": 2, "ignore_eos": True}
                    try:
                        await self.door.ask(COMPLETIONS, body)
                        self.ready = True
                        log.info("base %s writes: vLLM, %s", self.base.name, self.precision)
                    except (BadRequest, UnknownName) as error:
                        log.error("vLLM does not serve base %s: %s", self.base.name, error.message)
                        await asyncio.sleep(WATCH_SECONDS)
                    except EngineError:
                        await asyncio.sleep(WATCH_SECONDS)
                else:
                    await asyncio.sleep(ASK_SECONDS)

    def _lost(self) -> None:
        self.ready = False
        self.shelf.forget()

    def _away(self) -> EngineError:
        return NotReady("The server that computes this base is starting; try again shortly.", retry_after=5.0)

    def _over(self, writing: Writing) -> None:
        if all(task.done() for task in writing.tasks):
            self._writings.discard(writing)

    def _salt_of(self, message: wire.Generate) -> str:
        """Beginnings are shared by their owner alone, as in our own cache."""
        owner = f"{message.tenant}/{message.model or message.base}".encode()
        return hashlib.blake2b(owner, key=self._salt, digest_size=32).hexdigest()


def read_geometry(folder: Path, hidden: int, positions: int) -> HubGeometry:
    """Which linear layers an adapter may change, by the names and shapes of the weights alone. Raises `BadArtefact`."""
    linears: dict[str, tuple[int, int]] = {}
    try:
        with safe_open(folder / "model.safetensors", framework="numpy") as weights:
            for name in weights.keys():  # noqa: SIM118 - not a mapping
                shape = weights.get_slice(name).get_shape()
                if len(shape) == 2 and (found := _LINEAR.fullmatch(name)):
                    linears[found[1]] = (shape[1], shape[0])
    except Exception as error:  # the library has errors of its own
        raise BadArtefact(f"The base's model.safetensors cannot be read: {str(error)[:200]}") from error
    return HubGeometry(hidden=hidden, positions=positions, weights={}, linears=linears)


def _plain(name: str) -> str:
    """A base's name as a folder's."""
    return hashlib.sha256(name.encode()).hexdigest()[:16]
