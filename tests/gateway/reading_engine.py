"""An engine that classifies as tests tell it to, by model: on the real wire, before the real gateway.

It says the first label with certainty until a model is told another place, to fail, or to take its time.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import tempfile
from collections import Counter
from collections.abc import Iterator
from math import nan
from pathlib import Path
from typing import Any
from uuid import UUID

from django.test import override_settings

from inference import wire
from kit.ids import new_id
from registry.bases import Base, catalogue
from registry.models import ModelVersion
from registry.services import artefact_store, model_publish
from serving.models import Deployment
from tenants.models import Project
from tenants.scope import tenant_scope
from tests.conftest import Person
from tests.gateway.writing_engine import Door, door
from tests.inference.artefacts import Made
from tests.serving.made import deployed

LABELS = [f"label {i}" for i in range(5)]


class ReadingEngine:
    """`says`, `fails`, `raves` (answers what is no number) and `takes` are by the engine's name of a model; `asked`
    counts texts. `nearest`: the rows that it says are nearest to any text; none, and it fails."""

    def __init__(self) -> None:
        self.says: dict[str, int] = {}
        self.fails: set[str] = set()
        self.raves: set[str] = set()
        self.takes: dict[str, float] = {}
        self.asked: Counter[str] = Counter()
        self.nearest: list[int] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        frames = wire.Frames()
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                for body in frames.feed(data):
                    task = asyncio.get_running_loop().create_task(self._answer(wire.read_request(body), writer))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
        writer.close()

    async def _answer(self, message: Any, writer: asyncio.StreamWriter) -> None:
        match message:
            case wire.Hello():
                answer: wire.Message = wire.Welcome(wire.PROTOCOL, "reading")
            case wire.Classify(id=number, model=model, texts=texts):
                self.asked[model] += len(texts)
                await asyncio.sleep(self.takes.get(model, 0))
                answer = self._classified(number, model, texts)
            case wire.Embed(id=number, texts=texts):
                answer = wire.Embedded(number, 1, array.array("f", [1.0] * len(texts)).tobytes(), [4], 256, 1000)
            case wire.Nearest(id=number) if self.nearest:
                answer = wire.Neighbours(number, self.nearest, [0] * len(self.nearest), [0.5] * len(self.nearest))
            case wire.Nearest(id=number):
                answer = wire.Failed(number, "bad_artefact", "The file is damaged.")
            case wire.Load(id=number, model=model):
                answer = wire.Described(number, model, "all-MiniLM-L6-v2", "head", LABELS, 256, 0)
            case wire.Parity(id=number):
                answer = wire.ParityReport(number, True, 1, 0.0, 0.0, 0, 0.1)
            case _:
                answer = wire.Failed(getattr(message, "id", 0), "bad_request", "This engine knows no such message.")
        writer.write(wire.pack(answer))

    def _classified(self, number: int, model: str, texts: list[str]) -> wire.Message:
        if model in self.fails:
            return wire.Failed(number, "internal", "A fault of the engine.")
        row = [float(place == self.says.get(model, 0)) for place in range(len(LABELS))]
        if model in self.raves:
            row = [nan] * len(LABELS)
        return wire.Classified(
            number, len(LABELS), array.array("f", row * len(texts)).tobytes(), [4] * len(texts), 256, 1000
        )


class Reading(Door):
    """The gateway, and the engine that is told."""

    def __init__(self, made: Door, engine: ReadingEngine, address: str) -> None:
        super().__init__(made.url, made._spool)
        self.engine, self.address = engine, address

    def deployed(self, person: Person, version: ModelVersion, alias: str = "") -> Deployment:
        """Deploy a version on this engine."""
        with override_settings(ENGINE_ADDRESS=self.address):
            return deployed(person, version, alias)


def published(person: Person, made: Made, name: str, data: UUID | None = None) -> ModelVersion:
    """An artefact as the next version of the model of that name; `data` is the dataset version it learnt from."""
    base = next(iter(catalogue().values()))
    stored = artefact_store(tenant_id=person.tenant.id, folder=made.folder)
    with tenant_scope(person.tenant.id):
        return model_publish(
            project=Project.objects.get(pk=person.project.id), base=base, task="text-classification", suffix="triage",
            name=name, stored=stored, report={}, job_id=new_id(),
            dataset_version_id=data,
        )  # fmt: skip


@contextlib.contextmanager
def reading() -> Iterator[Reading]:
    """Both, for as long as the block lasts."""
    engine = ReadingEngine()
    base = Base("other-base", Path("/nonexistent"), 256, {"model.safetensors": "0" * 64})
    with tempfile.TemporaryDirectory(prefix="tr") as folder:
        path = f"{folder}/engine.sock"
        with door(f"unix://{path}", base, lambda: asyncio.start_unix_server(engine.serve, path)) as made:
            yield Reading(made, engine, f"unix://{path}")
