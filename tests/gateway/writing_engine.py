"""An engine that writes what a test tells it to, on the engine's real wire, and the gateway's real door before it.

A token is a byte of the prompt, or a piece of the plan. The plan is found by a word of the prompt. The engine keeps to
the rules of the wire: it never makes more than it was allowed, waits for an `Allow`, and ends with `budget` at the
last.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import openai
import uvicorn
from django.test import override_settings

from billing.metering.events import UsageEvent
from billing.metering.spool import read_events
from billing.services.entitlements import plan_grant
from gateway.app import Gateway
from inference import wire
from kit import redis
from kit.server import PatientHttp
from registry.bases import Base, catalogue
from tenants.scope import tenant_scope
from tenants.services.keys import key_create
from tests.conftest import Person, make_person

WRITER = "tiny-writer"
CONTEXT = 4096
WRITES = Base(WRITER, Path("/nonexistent"), CONTEXT, {"model.safetensors": "0" * 64}, tasks=("text-generation",))
"""What the catalogue says of it."""
DRAWN = 77
"""The seed that a text was written with whose caller named none."""
CHAT = "/v1/chat/completions"


@dataclass
class Plan:
    """What is written: `texts`, one a token, then `finish`; without texts, words without end."""

    texts: list[str] | None = None
    fail_after: int | None = None
    """Tokens after which the engine fails."""
    error: tuple[str, str] = ("internal", "A fault of the engine.")
    hold_after: int | None = None
    """Tokens after which it waits for `go`."""
    go: threading.Event = field(default_factory=threading.Event)
    each_s: float = 0.0
    """Seconds that a token takes."""
    render_s: float = 0.0
    """Seconds that it takes to make tokens of the prompt."""
    together: int = 1
    """Tokens that are told of together: until there are so many they are held back, as if they were no text yet."""

    def text(self, place: int) -> str | None:
        """The token at a place; None where the text ends."""
        if self.texts is None:
            return f" w{place}"
        return self.texts[place] if place < len(self.texts) else None

    def fail(self, after: int) -> None:
        """Where it is held, it fails instead of going on."""
        self.fail_after = after
        self.go.set()


@dataclass
class Making:
    """One text in the making, for a test to look at."""

    message: wire.Generate
    allowed: int
    last: bool = False
    made: int = 0
    cancelled: bool = False
    ended: bool = False
    prompt: str = ""
    held: dict[int, list[str]] = field(default_factory=dict)
    """What is held back of each text."""


class WritingEngine:
    """The server; `asked`, `rendered` and `loaded` remember what came."""

    def __init__(self) -> None:
        self.plans: dict[str, Plan] = {}
        self.models: dict[str, Plan] = {}
        """What a model writes whatever its prompt says."""
        self.contexts: dict[str, int] = {}
        """The context of models that read less than the others."""
        self.asked: list[Making] = []
        self.rendered: list[wire.Render] = []
        self.loaded: list[wire.Load] = []
        self.missing: set[str] = set()
        """Models that are not in memory until they are loaded."""
        self.stuck: set[str] = set()
        """Models that are forgotten when they are to write, and never come back."""
        self.at_once = self.most_at_once = 0
        self.rendering = self.most_rendering = 0
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def plan(self, word: str, *texts: str, **more: Any) -> Plan:
        """What is written after a prompt with that word."""
        made = self.plans[word] = Plan(list(texts) or None, **more)
        return made

    def of(self, word: str) -> list[Making]:
        """What was asked with that word in the prompt."""
        return [one for one in self.asked if word in one.prompt]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        frames, running = wire.Frames(), dict[int, tuple[asyncio.Task[None], Making]]()
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                for body in frames.feed(data):
                    self._take(wire.read_request(body), writer, running)
        for task, asked in running.values():
            asked.cancelled = not asked.ended
            task.cancel()
        writer.close()

    def _take(self, message: Any, writer: asyncio.StreamWriter, running: dict[int, Any]) -> None:
        def send(answer: wire.Message) -> None:
            writer.write(wire.pack(answer))

        match message:
            case wire.Hello():
                send(wire.Welcome(wire.PROTOCOL, "made up"))
            case wire.Load() if message.model in self.stuck:
                self.loaded.append(message)
            case wire.Generate() if message.model in self.stuck:
                send(wire.Failed(message.id, "not_resident", "Load it first."))
            case wire.Load():
                self.loaded.append(message)
                self.missing.discard(message.model)
                send(wire.Described(message.id, message.model, WRITER, "lora", [], CONTEXT, 1))
            case wire.Render() | wire.Generate() if message.model in self.missing:
                send(wire.Failed(message.id, "not_resident", "Load it first."))
            case wire.Render():
                self.rendered.append(message)
                task = asyncio.create_task(self._render(message, send))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            case wire.Generate():
                asked = Making(message, message.allowed, prompt=bytes(message.prompt).decode())
                self.asked.append(asked)
                running[message.id] = (asyncio.create_task(self._write(asked, send)), asked)
            case wire.Allow():
                if message.id in running:
                    asked = running[message.id][1]
                    asked.allowed, asked.last = message.tokens, message.last
                    self._changed.set()
            case wire.Cancel():
                if message.id in running:
                    task, asked = running.pop(message.id)
                    asked.cancelled = not asked.ended
                    task.cancel()

    async def _render(self, message: wire.Render, send: Callable[[wire.Message], None]) -> None:
        answer = self._rendered(message)
        if isinstance(answer, wire.Rendered):
            slow = self._plan_of(bytes(answer.prompts[0]).decode()).render_s
            if slow:
                self.rendering += 1
                self.most_rendering = max(self.rendering, self.most_rendering)
                await asyncio.sleep(slow)
                self.rendering -= 1
        send(answer)

    def _plan_of(self, prompt: str) -> Plan:
        return next((plan for word, plan in self.plans.items() if word in prompt), Plan())

    def _rendered(self, message: wire.Render) -> wire.Message:
        prompts = message.prompts
        if message.chat is not None:
            prompts = ["".join(f"<{one['role']}>{one['content']}\n" for one in message.chat["messages"])]
            if "template refuses" in prompts[0]:
                return wire.Failed(message.id, "bad_request", "The chat template refuses these roles.")
        context = self.contexts.get(message.model, CONTEXT)
        return wire.Rendered(message.id, [list(prompt.encode()) for prompt in prompts], context)

    async def _write(self, asked: Making, send: Callable[[wire.Message], None]) -> None:
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        try:
            await self._written(asked, send)
        finally:
            self.at_once -= 1
            asked.ended = True

    async def _written(self, asked: Making, send: Callable[[wire.Message], None]) -> None:
        message = asked.message
        plan = self.models.get(message.model) or self._plan_of(asked.prompt)
        wrong = [token for token in message.sampling.bias if token > 255]
        if wrong:
            send(wire.Failed(message.id, "bad_request", f"The model has no token {wrong[0]}."))
            return
        open_rows = dict.fromkeys(range(message.choices), 0)
        while open_rows:
            for row in list(open_rows):
                if asked.made == plan.hold_after:
                    while not plan.go.is_set():
                        await asyncio.sleep(0.005)
                if asked.made == plan.fail_after:
                    send(wire.Failed(message.id, *plan.error))
                    return
                while asked.made >= asked.allowed:
                    if asked.last:
                        for left in open_rows:
                            held = asked.held.get(left, [])
                            send(wire.Piece(message.id, left, "".join(held), len(held), "budget"))
                        open_rows.clear()
                        break
                    self._changed.clear()
                    await self._changed.wait()
                if not open_rows:
                    break
                self._step(asked, plan, row, open_rows, send)
                await asyncio.sleep(plan.each_s)
        asked.ended = True
        seed = DRAWN if message.sampling.seed is None else message.sampling.seed
        send(wire.Generated(message.id, len(message.prompt), 0, asked.made, 1000, 0, seed))

    def _step(
        self, asked: Making, plan: Plan, row: int, rows: dict[int, int], send: Callable[[wire.Message], None]
    ) -> None:
        message, place = asked.message, rows[row]
        text = plan.text(place)
        held = asked.held.setdefault(row, [])
        if text is None:
            send(wire.Piece(message.id, row, "".join(held), len(held), "stop"))
            del rows[row]
            return
        asked.made += 1
        rows[row] = place + 1
        finish = "length" if rows[row] == message.sampling.max_tokens else ""
        reports = None
        if message.sampling.logprobs is not None:
            chance = wire.TokenChance(text, -0.5 if place else float("-inf"), text.encode())
            reports = [wire.TokenReport(chance, [chance] * message.sampling.logprobs)]
        held.append(text)
        if finish or len(held) == plan.together:
            send(wire.Piece(message.id, row, "".join(held), len(held), finish, reports))
            held.clear()
        if finish:
            del rows[row]


class Door:
    """The gateway's ASGI application on a real server, in a thread."""

    def __init__(self, url: str, spool: Path) -> None:
        self.url, self._spool = url, spool

    def client(self, person: Person | str, **options: Any) -> openai.OpenAI:
        """The official client."""
        key = person if isinstance(person, str) else person.key
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, **options)

    def async_client(self, person: Person, **options: Any) -> openai.AsyncOpenAI:
        """The same, for asyncio."""
        return openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key=person.key, max_retries=0, **options)

    def post(self, path: str, body: Any, key: str) -> httpx2.Response:
        """A raw POST."""
        options: dict[str, Any] = {"content": body} if isinstance(body, bytes) else {"json": body}
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        return httpx2.post(self.url + path, headers=headers, timeout=30, **options)

    def events(self, person: Person) -> list[UsageEvent]:
        """What is written down of a tenant's calls at this moment, in the file that calls are written to first."""
        found = []
        for path in sorted(self._spool.glob("usage-*.wal")):
            found += [event for event, _ in read_events(path) if event.tenant_id == person.tenant.id]
        return found


class Wired(Door):
    """The door, with the engine of this module behind it."""

    def __init__(self, door: Door, engine: WritingEngine, address: str) -> None:
        super().__init__(door.url, door._spool)
        self.engine, self.address = engine, address
        self._words = itertools.count()

    def word(self) -> str:
        """A word no other test uses."""
        return f"word{next(self._words)}."


def on_plan(name: str, plan: str = "enterprise") -> Person:
    """Somebody whose plan allows many calls at once."""
    person = make_person(name)
    with tenant_scope(person.tenant.id):
        plan_grant(plan=plan, reason="tests", created_by="tests")
    return person


def until(true: Callable[[], Any], seconds: float = 10.0) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def key_with(person: Person, **limits: int) -> str:
    with tenant_scope(person.tenant.id):
        return key_create(project=person.project, name="limited", limits=limits)[1]


def says(word: str) -> Any:
    return [{"role": "user", "content": word}]


def prompt_of(word: str) -> int:
    return len(f"<user>{word}\n")


def alive(person: Person) -> int:
    """Reservations that a tenant holds."""
    return int(redis.client().hlen(f"q:{{{person.tenant.id.hex}}}:records"))


@contextlib.contextmanager
def door(address: str, base: Base, beside: Callable[[], Awaitable[asyncio.Server]] | None = None) -> Iterator[Door]:
    """The gateway before the engine at an address, which writes with a base; `beside` is served on the same loop."""
    known = catalogue().get(base.name)
    catalogue()[base.name] = base
    with tempfile.TemporaryDirectory(prefix="tw") as folder:
        spool = Path(folder) / "usage"
        config = uvicorn.Config(Gateway(_nothing), port=0, http=PatientHttp, log_level="warning", access_log=False)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=asyncio.run, args=(_run(server, beside),))
        try:
            with override_settings(ENGINE_ADDRESS=address, USAGE_WAL_DIR=spool):  # read once, at the start
                thread.start()
                until(lambda: server.started)
            port = server.servers[0].sockets[0].getsockname()[1]
            yield Door(f"http://127.0.0.1:{port}", spool)
        finally:
            server.should_exit = True
            thread.join(30)
            if known is None:
                del catalogue()[base.name]
            else:
                catalogue()[base.name] = known  # of a door around this one


@contextlib.contextmanager
def wired(engine: WritingEngine | None = None) -> Iterator[Wired]:
    """The gateway, an engine of this module's kind, and a base that writes."""
    engine = engine or WritingEngine()
    with tempfile.TemporaryDirectory(prefix="tw") as folder:
        path = f"{folder}/engine.sock"
        with door(f"unix://{path}", WRITES, lambda: asyncio.start_unix_server(engine.serve, path)) as made:
            yield Wired(made, engine, f"unix://{path}")


async def _run(server: uvicorn.Server, beside: Callable[[], Awaitable[asyncio.Server]] | None) -> None:
    listening = await beside() if beside is not None else None
    await server._serve()
    if listening is not None:
        listening.close()


async def _nothing(scope: Any, receive: Any, send: Any) -> None:
    """Nothing is behind the gateway."""
