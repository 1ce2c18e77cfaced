"""Tenants' adapters as folders that the server reads (PEFT's files), loaded at run time under names of our own.

A name is a hash over tenant, model and artefact, so that two tenants never share one, whatever they call their models.
The least recently used goes first, but none that a text is being written with.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import shutil
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator
from pathlib import Path

from safetensors.numpy import save_file

from inference.adapters import Adapter
from inference.errors import BadRequest, EngineError
from inference.generation.seam import WritingModel
from inference.generation.vllm.door import Door

log = logging.getLogger(__name__)

LOAD, UNLOAD = "/v1/load_lora_adapter", "/v1/unload_lora_adapter"


class Shelf:
    """What one server was told of. Used on the event loop; files are written in threads."""

    def __init__(self, folder: Path, door: Door, most: int) -> None:
        self.folder, self.most = folder, most
        self._door = door
        self._loaded: OrderedDict[str, asyncio.Future[None]] = OrderedDict()
        self._uses: Counter[str] = Counter()
        shutil.rmtree(folder, ignore_errors=True)  # what an engine before this one left

    @contextlib.asynccontextmanager
    async def using(self, model: WritingModel) -> AsyncIterator[str]:
        """The adapter's name, which the server knows while this is open. Raises of the `EngineError`s."""
        name = name_of(model)
        self._uses[name] += 1
        try:
            await self._ready(name, model.adapter)
            yield name
        finally:
            self._uses[name] -= 1
            if not self._uses[name]:
                del self._uses[name]

    def forget(self, name: str = "") -> None:
        """The server no longer knows this name; or none, because it was started again."""
        for known in [name] if name else list(self._loaded):
            self._loaded.pop(known, None)

    def __len__(self) -> int:
        return len(self._loaded)

    async def _ready(self, name: str, adapter: Adapter) -> None:
        """Texts that come at once share one loading, which goes on if the first of them leaves."""
        loading = self._loaded.get(name)
        if loading is None:
            loading = self._loaded[name] = asyncio.ensure_future(self._load(name, adapter))
            loading.add_done_callback(lambda done: self._settled(name, done))
        self._loaded.move_to_end(name)
        await asyncio.shield(loading)

    def _settled(self, name: str, loading: asyncio.Future[None]) -> None:
        if (loading.cancelled() or loading.exception() is not None) and self._loaded.get(name) is loading:
            del self._loaded[name]

    async def _load(self, name: str, adapter: Adapter) -> None:
        while len(self._loaded) > self.most and (victim := self._idle()) is not None:
            await self._unload(victim)
        folder = self.folder / name
        await asyncio.to_thread(write_peft, folder, adapter)
        try:
            await self._door.ask(LOAD, {"lora_name": name, "lora_path": str(folder)})
        except BadRequest as error:
            if "already" not in error.message:  # an engine before this one told a server that runs on
                raise
        log.info("vLLM loaded adapter %s, %d in all", name, len(self._loaded))

    async def _unload(self, name: str) -> None:
        self._loaded.pop(name, None)
        with contextlib.suppress(EngineError):
            await self._door.ask(UNLOAD, {"lora_name": name})
        if name not in self._loaded:  # nobody has asked for it meanwhile
            await asyncio.to_thread(shutil.rmtree, self.folder / name, True)

    def _idle(self) -> str | None:
        return next((name for name, done in self._loaded.items() if done.done() and not self._uses[name]), None)


def name_of(model: WritingModel) -> str:
    """What the server calls an adapter."""
    told = "\0".join((model.tenant, model.model, model.sha256))
    return hashlib.sha256(told.encode()).hexdigest()[:40]


def write_peft(folder: Path, adapter: Adapter) -> None:
    """An adapter as PEFT keeps one. Ours carries its scale inside, so that alpha is the rank."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"base_model.model.{name}.lora_A.weight": down for (_, name), down in adapter.down.items()}
    tensors |= {f"base_model.model.{name}.lora_B.weight": up for (_, name), up in adapter.up.items()}
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": adapter.rank, "lora_alpha": adapter.rank,
        "target_modules": sorted({name.rpartition(".")[2] for _, name in adapter.down}), "bias": "none",
        "lora_dropout": 0.0, "use_rslora": False, "use_dora": False, "inference_mode": True,
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(config))
