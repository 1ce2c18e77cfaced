"""What is brought into memory: bases at the start, tenants' models and the vectors of their training rows when they are
called for. Models are loaded on one thread, so that loading never takes more than one core from computing. Vectors are
small, are searched on another, and have a depot of their own: a search does not wait for somebody's large model.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from tokenizers import Tokenizer

from inference import neighbours, wire
from inference.adapters import Adapter
from inference.artefact import (
    NEIGHBOURS,
    Artefact,
    read_artefact,
    read_base,
    read_manifest,
    read_task,
    read_writing_manifest,
)
from inference.backends import hub
from inference.catalogue import Base
from inference.depot import SERVED, Depot
from inference.encoder import Backend, Encoder, HubBackend
from inference.errors import BadArtefact, NoRoom
from inference.geometry import Sizes
from inference.hot import merged
from inference.residents import Head, Held, Resident, Residents
from inference.settings import Settings
from inference.tasks import BY_TOKEN, PAIRED, TEXT_GENERATION
from inference.tensors import Array

if TYPE_CHECKING:
    from inference.generation.seam import CausalBase

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class LoadedBase:
    """A base in memory: its weights, its tokenizer, and itself as a model without a head.

    `tuned` makes an encoder of the same architecture from a full tune's weights, for every token's vector or for one
    of each text.
    """

    base: Base
    geometry: Sizes
    encoder: Encoder
    tuned: Callable[[Mapping[str, Array], bool], Encoder]
    tokenizer: Tokenizer
    resident: Resident


class Loader:
    """Reads for one engine. `load` and `copy` are for its thread: give them to `run` or `spend`."""

    def __init__(
        self, settings: Settings, backend: Backend, residents: Residents, causal: Mapping[str, CausalBase]
    ) -> None:
        self._settings, self._backend, self._residents, self._causal = settings, backend, residents, causal
        self._hub: HubBackend | None = None
        self._shelf = neighbours.Shelf(settings.neighbour_bytes)
        self._depot = Depot(settings.depot, settings.depot_bytes, settings.stores)
        self._rows = Depot(settings.depot / "rows", settings.neighbour_bytes, settings.stores)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="load")
        self._searching = ThreadPoolExecutor(1, thread_name_prefix="search")
        self.bases: dict[str, LoadedBase] = {}

    def open(self, bases: Iterable[Base]) -> None:
        """Bring bases in, here and now."""
        self.bases.update((base.name, self._load_base(base)) for base in bases)

    def run(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Have something done on the thread, for the running event loop."""
        return asyncio.get_running_loop().run_in_executor(self._thread, work)

    def spend(self, work: Callable[[], None]) -> Future[None]:
        """Have something done on the thread when there is time."""
        return self._thread.submit(work)

    def close(self) -> None:
        """Let go of the threads; what waits for them is dropped."""
        for thread in (self._thread, self._searching):
            thread.shutdown(wait=False, cancel_futures=True)

    def _load_base(self, base: Base) -> LoadedBase:
        encoder, tuned = self._own(base) if base.architecture.own else self._foreign(base)
        geometry = encoder.geometry
        tokenizer = Tokenizer.from_file(str(base.folder / "tokenizer.json"))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        limit = min(base.max_length, geometry.positions)
        resident = Resident("", "", "", base.name, "base", [], limit, encoder, None, None, None, 0)
        return LoadedBase(base, geometry, encoder, tuned, tokenizer, resident)

    def _own(self, base: Base) -> tuple[Encoder, Callable[[Mapping[str, Array], bool], Encoder]]:
        """A BERT, on the backend's own graph of it."""
        weights, geometry = read_base(base.folder)
        encoder = self._backend.encoder(weights, geometry, adapters=True)
        return encoder, lambda own, tokens: self._backend.encoder(own, geometry, adapters=False, tokens=tokens)

    def _foreign(self, base: Base) -> tuple[Encoder, Callable[[Mapping[str, Array], bool], Encoder]]:
        """Any other architecture, through transformers; the first one brings torch into the process."""
        if self._hub is None:
            settings = self._settings
            self._hub = hub(device=settings.device, precision=settings.precision, threads=settings.threads)
        encoder = self._hub.encoder(base.folder)
        return encoder, lambda own, _: encoder.tuned(own)

    def load(self, message: wire.Load) -> Held:
        """Read, check, build and keep a model. Raises `BadArtefact`, `NoRoom` or `Unavailable`."""
        started = time.perf_counter()
        folder = self._depot.fetch(message.sha256, message.urls) if message.urls else self._folder(message.folder)
        if read_task(folder, message.sha256) == TEXT_GENERATION:
            resident = self._load_writing(message, folder)
        else:
            resident = self._load_reading(message, folder)
        evicted = self._residents.add(resident)
        log.info(
            "loaded %s model %s of tenant %s in %.0f ms, %d bytes, %d evicted",
            resident.method, resident.model, resident.tenant, (time.perf_counter() - started) * 1000,
            resident.bytes, len(evicted),
        )  # fmt: skip
        return resident

    async def nearest(self, message: wire.Nearest) -> tuple[list[int], list[int], list[float]]:
        """Rows, places of labels and cosines of the training rows nearest to a vector. Raises as `load`."""
        return await asyncio.get_running_loop().run_in_executor(self._searching, self._nearest, message)

    def _nearest(self, message: wire.Nearest) -> tuple[list[int], list[int], list[float]]:

        def folder() -> Path:
            if message.urls:
                return self._rows.fetch(message.sha256, message.urls, (NEIGHBOURS,))
            return self._folder(message.folder)

        found = self._shelf.take(message.tenant, message.sha256, folder)
        return found.nearest(np.frombuffer(message.vector, "<f4"), message.k)

    def _load_writing(self, message: wire.Load, folder: Path) -> Held:
        manifest = read_writing_manifest(folder, message.sha256)
        causal = self._causal.get(manifest.base)
        if causal is None:
            raise BadArtefact(f"The model was trained on {manifest.base!r}, which this engine does not have.")
        return causal.build(message, folder)

    def _load_reading(self, message: wire.Load, folder: Path) -> Held:
        manifest = read_manifest(folder, message.sha256)
        loaded = self.bases.get(manifest.base)
        if loaded is None:
            raise BadArtefact(f"The model was trained on {manifest.base!r}, which this engine does not have.")
        needed = sum(entry.bytes for name, entry in manifest.files.items() if name in SERVED)
        if needed > self._residents.budget:
            raise NoRoom(f"The model needs {needed} bytes; all models together may take {self._residents.budget}.")
        artefact = read_artefact(folder, message.sha256, loaded.geometry)
        return self._build(message, artefact, loaded)

    def copy(self, resident: Resident) -> Encoder:
        """The base with a resident's adapter in its weights."""
        assert resident.adapter is not None, "only adapters are merged"
        weights, geometry = read_base(self.bases[resident.base].base.folder)
        own = merged(weights, resident.adapter, geometry)
        return self._backend.encoder(own, geometry, adapters=False, tokens=resident.tokens)

    def _folder(self, text: str) -> Path:
        folder = Path(text)
        if not folder.is_absolute() or not folder.is_dir():
            raise BadArtefact("The artefact folder does not exist on the engine's machine.")
        roots = self._settings.roots
        if roots and not any(folder.resolve().is_relative_to(root.resolve()) for root in roots):
            raise BadArtefact("The artefact lies outside the folders that this engine may read.")
        return folder

    def _build(self, message: wire.Load, artefact: Artefact, loaded: LoadedBase) -> Resident:
        manifest, encoder, adapter = artefact.manifest, loaded.encoder, None
        head, size = None, 0
        if artefact.head is not None:
            weight, bias = (part / np.float32(manifest.temperature) for part in artefact.head)
            dense = None
            if artefact.dense is not None:
                dense = np.ascontiguousarray(artefact.dense[0].T), artefact.dense[1]
            head = Head(np.ascontiguousarray(weight.T), bias, manifest.task, dense)
            size = sum(part.nbytes for part in (weight, bias, *(dense or ())))
        if artefact.adapter is not None and manifest.lora is not None:
            adapter = Adapter.build(manifest.lora, artefact.adapter, loaded.geometry)
            size += adapter.bytes
        if artefact.encoder is not None:
            encoder = loaded.tuned(artefact.encoder, manifest.task in BY_TOKEN | PAIRED)
            size += encoder.bytes
        return Resident(
            tenant=message.tenant,
            model=message.model,
            sha256=message.sha256,
            base=manifest.base,
            method=manifest.method,
            labels=manifest.labels,
            max_length=min(manifest.max_length, loaded.geometry.positions),
            encoder=encoder,
            adapter=adapter,
            head=head,
            recorded=artefact.recorded,
            bytes=size,
            task=manifest.task,
            pooling=manifest.pooling,
            dimensions=tuple(manifest.dimensions),
        )
