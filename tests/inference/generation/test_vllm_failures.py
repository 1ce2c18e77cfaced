"""What a vLLM server does when it fails: a stand-in fails as a real one does, where a real one cannot be made to."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import stat
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from inference import wire
from inference.address import Address
from inference.catalogue import Base, Vllm, bases
from inference.errors import BadArtefact, EngineError, Internal, NotReady, Overloaded, Unavailable
from inference.generation.seam import Event
from inference.generation.vllm import base as vllm_base
from inference.generation.vllm.base import Causal
from inference.generation.vllm.shelf import LOAD, UNLOAD
from inference.settings import Settings
from tests.inference.generation.made import adapter, artefact, merged
from tests.late import late
from tests.training.lab.causal_bases import tiny_llama

torch, hub = late("torch"), late("inference.hub")

Reply = Callable[[dict[str, Any], web.Request], Awaitable[web.StreamResponse]]


def event(*tokens: int, finish: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "text": "", "token_ids": list(tokens), "finish_reason": finish}]}


class StandIn:
    """A server on a loopback port. `reply` answers completions; what it was asked is kept."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.told: list[tuple[str, str]] = []
        self.adapters: set[str] = set()
        self.reply: Reply = self.write
        self.well = True
        self.address = ""

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[StandIn]:
        app = web.Application()
        app.router.add_post("/v1/completions", self._completions)
        app.router.add_post(LOAD, self._load)
        app.router.add_post(UNLOAD, self._unload)
        app.router.add_get("/health", self._health)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.address = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()

    async def write(self, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        """As many tokens as were asked for."""
        return await stream(request, *(event(9) for _ in range(body["max_tokens"])), event(finish="length"))

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response(status=200 if self.well else 503)

    async def _completions(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if not body.get("stream"):  # the proof
            return web.json_response({"choices": [{"token_ids": [9]}]})
        self.asked.append(body)
        if body["model"] != "tiny" and body["model"] not in self.adapters:
            return refusal(404, "The model does not exist.")
        return await self.reply(body, request)

    async def _load(self, request: web.Request) -> web.Response:
        name = (await request.json())["lora_name"]
        self.told.append(("load", name))
        self.adapters.add(name)
        return web.Response(text="ok")

    async def _unload(self, request: web.Request) -> web.Response:
        name = (await request.json())["lora_name"]
        self.told.append(("unload", name))
        self.adapters.discard(name)
        return web.Response(text="ok")


def refusal(status: int, message: str) -> web.Response:
    return web.json_response({"error": {"message": message, "code": status}}, status=status)


async def stream(request: web.Request, *events: Any, end: bool = True) -> web.StreamResponse:
    answer = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await answer.prepare(request)
    for one in events:
        said = one if isinstance(one, str) else json.dumps(one)
        await answer.write(f"data: {said}\n\n".encode())
    if end:
        await answer.write(b"data: [DONE]\n\n")
    elif request.transport is not None:
        request.transport.abort()
    return answer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("base"))


@contextlib.asynccontextmanager
async def opened(folder: Path, home: Path, options: Vllm, **more: Any) -> AsyncIterator[Causal]:
    settings = Settings(Address.parse(f"unix:{home}/engine"), depot=home, precision="fp32", **more)
    causal = Causal(Base("tiny", folder, 256, options), settings, asyncio.get_running_loop(), lambda: None)
    causal.start()
    try:
        yield causal
    finally:
        await causal.stop()


async def until(what: Callable[[], Any], seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not what():
            await asyncio.sleep(0.01)


async def asked(causal: Causal, model: Any = None, **more: Any) -> list[Event]:
    """All events of one request, to its end."""
    events: list[Event] = []
    message = wire.Generate(
        1, "t", [5], wire.Sampling(more.pop("max_tokens", 4), temperature=0.0), more.pop("allowed", 100),
        base="tiny", stream=True, **more,
    )  # fmt: skip
    await causal.generate(message, model, events.append)
    await until(lambda: events and isinstance(events[-1], wire.Generated | EngineError))
    await until(lambda: not causal.busy)
    assert causal.places.running == causal.places.waiting == 0
    return events


async def broken(body: dict[str, Any], request: web.Request) -> web.StreamResponse:
    return await stream(request, event(9), event(9), end=False)


async def cut(body: dict[str, Any], request: web.Request) -> web.StreamResponse:
    return await stream(request, event(9), {"error": {"message": "EngineCore at /secret died", "code": 500}})


async def nonsense(body: dict[str, Any], request: web.Request) -> web.StreamResponse:
    return await stream(request, "{not json")


async def nothing(body: dict[str, Any], request: web.Request) -> web.StreamResponse:
    return await stream(request, event(finish="length"))


async def greedy(body: dict[str, Any], request: web.Request) -> web.StreamResponse:
    return await stream(request, *(event(9) for _ in range(body["max_tokens"] + 1)))


async def aborted(body: dict[str, Any], request: web.Request) -> web.StreamResponse:
    return await stream(request, event(9, finish="abort"))


@pytest.mark.parametrize(
    ("reply", "error", "pieces"),
    [
        (broken, Unavailable, 2),
        (cut, Unavailable, 1),
        (nonsense, Unavailable, 0),
        (nothing, Unavailable, 0),
        (greedy, Internal, 3),
        (aborted, Unavailable, 1),
        (lambda *_: asyncio.sleep(0, refusal(500, "a path: /secret")), Unavailable, 0),
        (lambda *_: asyncio.sleep(0, refusal(429, "full")), Overloaded, 0),
        (lambda *_: asyncio.sleep(0, refusal(401, "no")), Internal, 0),
    ],
)
def test_a_server_that_fails_ends_the_text_with_an_error_that_shows_nothing_of_it(
    folder: Path, tmp_path: Path, reply: Reply, error: type[EngineError], pieces: int
) -> None:
    async def work() -> list[Event]:
        async with StandIn().serving() as server, opened(folder, tmp_path, Vllm(server.address)) as causal:
            await until(lambda: causal.ready)
            server.reply = reply
            return await asked(causal, allowed=3)

    *told, last = asyncio.run(work())
    assert type(last) is error and "/secret" not in last.message
    assert len(told) == pieces and all(isinstance(piece, wire.Piece) for piece in told)


def test_a_server_that_goes_is_noticed_and_one_that_comes_back_is_told_its_adapters_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vllm_base, "WATCH_SECONDS", 0.05)
    sha = artefact(tmp_path / "m", adapter(merged(folder, None), rank=8, seed=1), base="tiny")

    async def work() -> None:
        async with StandIn().serving() as server, opened(folder, tmp_path / "d", Vllm(server.address)) as causal:
            await until(lambda: causal.ready)
            model = causal.build(wire.Load(1, "t", "m", str(tmp_path / "m"), sha), tmp_path / "m")
            assert isinstance((await asked(causal, model))[-1], wire.Generated)
            server.well = False
            await until(lambda: not causal.ready)
            with pytest.raises(NotReady, match="starting") as refused:
                await asked(causal, model)
            assert refused.value.retry_after and not causal.report().ready
            server.well, server.adapters = True, set()
            await until(lambda: causal.ready)
            assert isinstance((await asked(causal, model))[-1], wire.Generated)
            server.adapters = set()  # somebody took it away behind our back
            assert isinstance((await asked(causal, model))[-1], wire.Generated)
            assert [what for what, _ in server.told] == ["load"] * 3

    asyncio.run(work())


def test_two_tenants_models_of_one_name_are_two_adapters_and_the_oldest_idle_one_goes(
    folder: Path, tmp_path: Path
) -> None:
    sha = artefact(tmp_path / "m", adapter(merged(folder, None), rank=8, seed=1), base="tiny")

    async def work() -> None:
        options = Vllm(adapters=2)
        async with StandIn().serving() as server:
            options = Vllm(server.address, adapters=2)
            async with opened(folder, tmp_path / "d", options) as causal:
                await until(lambda: causal.ready)
                for tenant in ("a", "b", "a", "c", "b"):
                    model = causal.build(wire.Load(1, tenant, "m", str(tmp_path / "m"), sha), tmp_path / "m")
                    assert isinstance((await asked(causal, model))[-1], wire.Generated)
                names = {asked["model"] for asked in server.asked}
                assert len(names) == 3 and len(server.adapters) == 2
                assert [what for what, _ in server.told] == ["load", "load", "unload", "load", "unload", "load"]
                assert len(list(causal.shelf.folder.iterdir())) == 2
                salts = {asked["cache_salt"] for asked in server.asked}
                assert len(salts) == 1, "the tenant of the message owns the beginning, and all were asked for by one"

    asyncio.run(work())


PROGRAM = """#!/bin/sh
env >> "{home}/environment"
echo "$@" >> "{home}/arguments"
sleep 300 &
echo "child $!" >> "{home}/children"
{then}
"""


def _program(home: Path, then: str) -> str:
    path = home / "vllm"
    path.write_text(PROGRAM.format(home=home, then=then))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def _gone(home: Path) -> bool:
    children = [int(line.split()[1]) for line in (home / "children").read_text().splitlines()]
    deadline = time.monotonic() + 5
    while any(b"sleep" in _command(number) for number in children):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return bool(children)


def _command(number: int) -> bytes:
    try:
        return Path(f"/proc/{number}/cmdline").read_bytes()
    except OSError:
        return b""


def test_a_server_of_ours_that_dies_starts_again_after_longer_pauses_and_knows_no_secret_of_the_engines(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inference.generation.vllm.child.FIRST_PAUSE", 0.05)
    for name in ("TUNESMITH_ENGINE_TOKEN", "TUNESMITH_ENGINE_ANNOUNCE", "HF_TOKEN", "DATABASE_URL"):
        monkeypatch.setenv(name, "the engine's own")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    program = _program(tmp_path, "exit 3")

    async def work() -> None:
        started = asyncio.get_running_loop().time()
        async with opened(folder, tmp_path, Vllm(arguments=("--more",)), vllm=program) as causal:
            child = causal._child
            assert child is not None
            await until(lambda: child.started >= 4)
            assert asyncio.get_running_loop().time() - started >= 0.05 + 0.1 + 0.2
            assert not causal.ready

    asyncio.run(work())
    environment = (tmp_path / "environment").read_text()
    assert "VLLM_API_KEY=" in environment and "CUDA_VISIBLE_DEVICES=" in environment and "PATH=" in environment
    assert "the engine's own" not in environment
    arguments = (tmp_path / "arguments").read_text().splitlines()[0]
    assert f"serve {folder} --served-model-name tiny --uds" in arguments and arguments.endswith("--more")
    assert _gone(tmp_path), "what a dead server left behind is ended with it"


def test_a_server_that_hears_no_signal_is_ended_with_all_that_it_started(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inference.generation.vllm.child.GRACE_SECONDS", 0.2)
    program = _program(tmp_path, "trap '' TERM; sleep 300")

    async def work() -> str:
        async with opened(folder, tmp_path, Vllm(), vllm=program) as causal:
            await until(lambda: (tmp_path / "children").exists() and (tmp_path / "children").read_text())
            assert causal._child is not None
            return causal._child.address.removeprefix("unix:")

    socket = asyncio.run(work())
    assert _gone(tmp_path) and not os.path.exists(os.path.dirname(socket))


def test_a_program_that_is_not_there_is_said_at_the_start(folder: Path, tmp_path: Path) -> None:
    async def work() -> None:
        async with opened(folder, tmp_path, Vllm(), vllm=str(tmp_path / "none")):
            pass

    with pytest.raises(BadArtefact, match="--vllm"):
        asyncio.run(work())


def test_an_adapter_may_change_the_layers_that_it_may_change_at_our_own_decoder(folder: Path) -> None:
    own = {name: (one.in_features, one.out_features) for name, one in hub.linears(hub.load_causal(folder)).items()}
    assert vllm_base.read_geometry(folder, 32, 256).linears == own


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"backend": "llama"}, "own or vllm"),
        ({"vllm": {}}, "backend"),
        ({"backend": "vllm", "vllm": {"adress": "x"}}, "adress"),
        ({"backend": "vllm", "vllm": {"rank": 7}}, "rank"),
        ({"backend": "vllm", "vllm": {"address": "ftp://x"}}, "http://"),
        ({"backend": "vllm", "vllm": {"address": "http://x", "arguments": ["--y"]}}, "no arguments"),
    ],
)
def test_a_catalogue_that_cannot_be_meant_is_refused(
    folder: Path, tmp_path: Path, entry: dict[str, Any], says: str
) -> None:
    path = tmp_path / "bases.json"
    path.write_text(json.dumps({"bases": {"tiny": {"folder": str(folder)} | entry}}))
    with pytest.raises(BadArtefact, match=says):
        bases(path)
