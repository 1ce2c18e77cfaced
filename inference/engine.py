"""The engine without its door: bases in memory, models loaded and evicted, requests turned into jobs.

Methods are called on the event loop. Whatever takes long runs elsewhere: loading in a thread of its own, computing in
the runner's.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from inference import backends, judging, tracing, trial, wire
from inference.backends import choose
from inference.background import standing
from inference.catalogue import Base, bases
from inference.errors import BadDimensions, BadRequest, EngineError, NoRoom, NotResident, TooLarge
from inference.geometry import Geometry
from inference.handover import Handover
from inference.hot import Merging
from inference.loading import LoadedBase, Loader
from inference.residents import Head, Held, Resident, Residents
from inference.runner import Job, Runner
from inference.scheduler import Scheduler
from inference.settings import Settings
from inference.sheets import Sheet
from inference.tasks import RERANK
from inference.tensors import Array

if TYPE_CHECKING:
    from inference.generation.seam import CausalBase, Event, WritingModel, WritingRequest

log = logging.getLogger(__name__)

Answer = Callable[[Job, EngineError | None], None]
Texts = judging.Texts

MAX_NEAREST = 100
MAX_TEXT = 1_000_000  # characters in one text; far above any model's limit, so that cuts can be counted and reported


class Engine:
    """Bases, residents and the runner, behind one object. Make it inside a running event loop."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        known = bases(settings.catalogue)
        name, precision, self.trial = trial.choose(
            settings, next((b for b in known.values() if b.architecture.own), None)
        )
        self.backend = choose(name, device=settings.device, precision=precision, threads=settings.threads)
        if backends.cores() <= self.backend.lanes:
            # The tokenizer's threads are shared by all lanes: a flood's long texts would be cut before anybody else's.
            os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        self._loop = asyncio.get_running_loop()
        self._handover = Handover(self._loop)
        self.on_delivered: Callable[[], None] = lambda: None
        self.causal = {name: self._open_causal(base) for name, base in known.items() if base.architecture.causal}
        self.residents = Residents(settings.resident_bytes, settings.floor_bytes)
        self.loader = Loader(settings, self.backend, self.residents, self.causal)
        self.loader.open(base for base in known.values() if not base.architecture.causal)
        self.bases = self.loader.bases
        self.runner = Runner(Scheduler(settings.limits, self.backend.lanes), self._deliver)
        self.merging = Merging(self.residents, self.loader.copy, self.loader.spend)
        self._loading: dict[tuple[str, str, str], asyncio.Future[Held]] = {}
        self._started = time.monotonic()

    def start(self) -> None:
        """Begin to compute."""
        self.runner.start()
        for causal in self.causal.values():
            causal.start()

    async def stop(self, deadline: float | None = None) -> None:
        """Let the queue run dry until a moment of the monotonic clock, then end the threads."""
        deadline = time.monotonic() + self.settings.drain_s if deadline is None else deadline
        while self._busy() and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        await asyncio.to_thread(self.runner.stop)
        for causal in self.causal.values():
            await causal.stop()
        self._handover.close()
        self.loader.close()

    def classify(self, message: wire.Classify, answer: Answer) -> Job:
        """Queue a classification. Raises `NotResident`, `Overloaded`, `TooLarge` or `BadRequest`."""
        resident = self._resident(message.tenant, message.model)
        if resident.head is None:
            raise BadRequest(f"Model {message.model!r} gives vectors and knows no labels.")
        if resident.tokens:
            raise BadRequest(f"Model {message.model!r} is for {resident.task} and gives no labels of a text.")
        return self._submit(
            message.tenant, message.weight, message.texts, resident, resident.head, answer, trace=message.trace
        )

    def rank(self, message: wire.Rank, answer: Answer) -> Job:
        """Queue the pairs of a query and texts. Raises as `classify`."""
        resident = self.resident_for(message.tenant, message.model, RERANK)
        self.check_texts([message.query])
        pairs = [(message.query, text) for text in message.texts]
        return self._submit(message.tenant, message.weight, pairs, resident, resident.head, answer, trace=message.trace)

    async def tag(self, message: wire.Tag) -> wire.Tagged:
        """See `inference.judging`."""
        return await judging.tag(self, message)

    async def ask(self, message: wire.Ask) -> wire.Asked:
        """See `inference.judging`."""
        return await judging.ask(self, message)

    def embed(self, message: wire.Embed, answer: Answer) -> Job:
        """Queue an embedding by a base or by a tenant's own model. Raises as `classify`."""
        if bool(message.model) == bool(message.base):
            raise BadRequest("Name either a base or a model to embed with.")
        if message.base:
            resident = self._base(message.base).resident
        else:
            resident = self._resident(message.tenant, message.model)
        width = resident.encoder.geometry.hidden
        if not 0 <= message.dimensions <= width:
            raise BadDimensions(f"This model's vectors have {width} numbers: 'dimensions' must be from 1 to {width}.")
        sizes = {*resident.dimensions, width}
        if message.dimensions and resident.dimensions and message.dimensions not in sizes:
            said = ", ".join(map(str, sorted(sizes)))
            raise BadDimensions(f"This model is for vectors of {said} numbers: 'dimensions' must be one of them.")
        return self._submit(
            message.tenant, message.weight, message.texts, resident, None, answer, message.dimensions,
            trace=message.trace,
        )  # fmt: skip

    async def count(self, message: wire.Count) -> wire.Counted:
        """Token counts, in a thread."""
        loaded = self._base(message.base)
        self.check_texts(message.texts)
        encodings = await asyncio.to_thread(loaded.tokenizer.encode_batch_fast, message.texts)
        return wire.Counted(message.id, [len(e.ids) for e in encodings], loaded.resident.max_length)

    async def nearest(self, message: wire.Nearest) -> wire.Neighbours:
        """The rows of a model's training data that are nearest to a vector."""
        if not 1 <= message.k <= MAX_NEAREST or len(message.vector) % 4:
            raise BadRequest(f"Ask for 1 to {MAX_NEAREST} rows, with a vector of float32.")
        rows, labels, cosines = await self.loader.nearest(message)
        return wire.Neighbours(message.id, rows, labels, cosines)

    async def load(self, message: wire.Load) -> wire.Described:
        """Bring a model into memory; several requests for the same one share the work."""
        resident: Held | None = self.residents.get(message.tenant, message.model)
        started, cold_ms = time.perf_counter(), 0
        if resident is None or resident.sha256 != message.sha256:
            key = (message.tenant, message.model, message.sha256)
            future = self._loading.get(key)
            if future is None:
                future = self.loader.run(lambda: self.loader.load(message))
                self._loading[key] = future
                future.add_done_callback(lambda _: self._loading.pop(key, None))
            resident = await asyncio.shield(future)
            cold_ms = max(round((time.perf_counter() - started) * 1000), 1)
        if message.pin is not None:
            try:
                self.residents.pin(message.tenant, message.model, message.pin)
            except NoRoom as error:  # it serves all the same; the answer says that it is not kept
                log.warning("%s is not pinned: %s", message.model, error.message)
        return self._described(message.id, resident, cold_ms)

    def unload(self, message: wire.Unload) -> wire.Done:
        """Forget a model."""
        self.merging.forget(message.tenant, message.model)
        return wire.Done(message.id, self.residents.remove(message.tenant, message.model))

    def describe(self, message: wire.Describe) -> wire.Described:
        """Facts about a resident model."""
        return self._described(message.id, self._held(message.tenant, message.model))

    async def render(self, message: wire.Render) -> wire.Rendered:
        """Prompts of a model or base that writes, as tokens. Raises `NotResident` or `BadRequest`."""
        causal, model = self._writes(message.tenant, message.model, message.base)
        return await causal.render(message, model)

    async def generate(self, message: wire.Generate, answer: Callable[[Event], None]) -> WritingRequest:
        """Queue a text. Raises as `classify`."""
        causal, model = self._writes(message.tenant, message.model, message.base)
        return await causal.generate(message, model, answer)

    async def parity(self, message: wire.Parity) -> wire.ParityReport:
        """Send the recorded texts the way every request goes, and compare the answers."""
        held = self._held(message.tenant, message.model)
        if not isinstance(held, Resident):
            causal, model = self._writes(message.tenant, message.model, "")
            assert model is not None, "a model was named"
            return await causal.parity(message, model)
        return await judging.compare(self, message, held)

    async def computed(self, tenant: str, resident: Resident, texts: Texts) -> Array:
        """What the model answers, as every request is."""
        job = await self._finished(lambda answer: self._submit(tenant, 1, texts, resident, resident.head, answer))
        return job.rows

    async def judged(self, tenant: str, weight: int, resident: Resident, sheets: list[Sheet], trace: str = "") -> Job:
        """A job whose `marks` are what the model's head says of the tokens of each sheet."""
        job = await self._finished(
            lambda answer: self._submit(tenant, weight, [], resident, resident.head, answer, sheets=sheets, trace=trace)
        )
        if trace and tracing.on():
            tracing.record("queue", trace, tracing.wall_ns(job.started), tracing.wall_ns(job.begun))
        return job

    async def _finished(self, submit: Callable[[Answer], Job]) -> Job:
        """A job, once it is computed; cancelled with whoever waits for it."""
        done: asyncio.Future[None] = self._loop.create_future()

        def answer(_: Job, error: EngineError | None) -> None:
            if done.cancelled():
                return
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)

        job = submit(answer)
        try:
            await done
        except asyncio.CancelledError:
            self.runner.cancel(job)
            raise
        return job

    def health(self, message: wire.Health) -> wire.HealthReport:
        """A snapshot of counters."""
        counters, scheduler, residents = self.runner.counters, self.runner.scheduler, self.residents
        p50, p95, p99 = counters.percentiles()
        return wire.HealthReport(
            id=message.id,
            uptime_s=time.monotonic() - self._started,
            backend=self.backend.name,
            precision=self.backend.precision,
            bases=sorted([*self.bases, *self.causal]),
            requests=counters.requests,
            rows=counters.rows,
            tokens=counters.tokens,
            padded_tokens=counters.padded_tokens,
            batches=counters.batches,
            refused=scheduler.refused,
            cancelled=counters.cancelled,
            queued_rows=scheduler.rows,
            queued_tenants=scheduler.tenants,
            expected_wait_s=scheduler.expected_wait_s,
            resident_bytes=residents.used,
            resident_budget=residents.budget,
            evictions=residents.evictions,
            residents=[
                wire.ResidentReport(r.model, r.tenant, r.method, r.bytes, pinned=residents.pinned(r.tenant, r.model))
                for r in residents.all()
            ],
            latency_p50_ms=p50,
            latency_p95_ms=p95,
            latency_p99_ms=p99,
            writers=[causal.report() for causal in self.causal.values()],
            trial=self.trial,
        )

    def _deliver(self, done: list[Job], error: EngineError | None) -> None:
        """On the compute thread: bring finished jobs to the event loop, one hop for the whole batch."""
        self._handover.put(lambda: self._answer(done, error))

    def _answer(self, done: list[Job], error: EngineError | None) -> None:
        for job in done:
            job.answer(job, error)
        self.on_delivered()

    def _submit(
        self, tenant: str, weight: int, texts: Texts, resident: Resident, head: Head | None, answer: Answer,
        dimensions: int = 0, sheets: list[Sheet] | None = None, trace: str = "",
    ) -> Job:  # fmt: skip
        if sheets is None:
            self.check_texts(texts)
            costs = [_estimate(text, resident.max_length) for text in texts]
        else:
            costs = [len(sheet.ids) for sheet in sheets]
        if isinstance(resident.encoder.geometry, Geometry):
            resident = self.merging.take(resident, len(costs))
        line, weight, background = standing(tenant, weight)
        job = Job(
            tenant=line,
            group=id(resident.encoder),
            base=resident.base,
            costs=costs,
            weight=weight,
            background=background,
            resident=resident,
            head=head,
            tokenizer=self.bases[resident.base].tokenizer,
            texts=texts,
            answer=answer,
            dimensions=dimensions,
            sheets=sheets,
            trace=trace,
        )
        self.runner.submit(job)
        return job

    def _base(self, name: str) -> LoadedBase:
        loaded = self.bases.get(name)
        if loaded is None:
            raise BadRequest(f"There is no base {name!r} here; there are: {', '.join(sorted(self.bases))}.")
        return loaded

    def _held(self, tenant: str, model: str) -> Held:
        held = self.residents.get(tenant, model)
        if held is None:
            raise NotResident(f"Model {model!r} is not in memory.")
        return held

    def _resident(self, tenant: str, model: str) -> Resident:
        held = self._held(tenant, model)
        if not isinstance(held, Resident):
            raise BadRequest(f"Model {model!r} writes text; it has neither labels nor vectors.")
        return held

    @staticmethod
    def check_texts(texts: Texts) -> None:
        """Raises `BadRequest` for none, `TooLarge` for too many, or for one that is too long."""
        if not texts:
            raise BadRequest("Send at least one text.")
        if len(texts) > wire.MAX_TEXTS:
            raise TooLarge(f"{len(texts)} texts in one request are over the limit of {wire.MAX_TEXTS}.")
        longest = max(len(text) if isinstance(text, str) else max(map(len, text)) for text in texts)
        if longest > MAX_TEXT:
            raise TooLarge(f"A text of {longest} characters is over the limit of {MAX_TEXT}.")

    def resident_for(self, tenant: str, model: str, task: str) -> Resident:
        """A resident model of that task. Raises `NotResident` or `BadRequest`."""
        resident = self._resident(tenant, model)
        if resident.task != task:
            raise BadRequest(f"Model {model!r} is for {resident.task}, not for {task}.")
        return resident

    def _writes(self, tenant: str, model: str, base: str) -> tuple[CausalBase, WritingModel | None]:
        """What writes for a model, or for a base by itself."""
        if bool(model) == bool(base):
            raise BadRequest("Name either a base or a model to write with.")
        held = self._held(tenant, model) if model else None
        name = held.base if held is not None else base
        causal = self.causal.get(name)
        if causal is None:
            raise BadRequest(f"{name!r} reads text and writes none.")
        return causal, cast("WritingModel | None", held)

    def _busy(self) -> bool:
        return bool(self.runner.scheduler.rows) or any(causal.busy for causal in self.causal.values())

    def _open_causal(self, base: Base) -> CausalBase:
        """What computes a base is imported only where the catalogue names it: our own brings torch and transformers."""
        where = "inference.generation.vllm.base" if base.vllm is not None else "inference.generation.causal"
        module = importlib.import_module(where)
        causal: CausalBase = module.Causal(base, self.settings, self._loop, lambda: self.on_delivered())
        return causal

    def _described(self, request_id: int, resident: Held, cold_ms: int = 0) -> wire.Described:
        return wire.Described(
            request_id, resident.model, resident.base, resident.method, resident.labels, resident.max_length,
            resident.bytes, resident.task, self.residents.pinned(resident.tenant, resident.model), cold_ms,
        )  # fmt: skip


def _estimate(text: str | tuple[str, str], limit: int) -> int:
    """Tokens that a text will cost, guessed from its characters; what is cut still costs its tokenising."""
    whole = text if isinstance(text, str) else " ".join(text)
    characters = len(whole)
    tokens = (characters // 4 if whole.isascii() else characters) + 2
    return tokens if tokens <= limit else limit + (tokens - limit) // 32
