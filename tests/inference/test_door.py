"""The engine's door: tokens, frames, broken peers, cancelling, load that fails, memory that runs out."""

from __future__ import annotations

import asyncio
import socket
import struct
import time

import msgspec
import pytest

from inference import wire
from inference.address import Address
from inference.client import BlockingClient, EngineClient
from inference.connection import Connection, Generation
from inference.engine import Engine
from inference.errors import BadArtefact, Late, NoRoom, NotResident, TooLarge, Unauthorised, Unavailable
from inference.server import Server
from inference.settings import Settings
from tests.inference.artefacts import BASE, make
from tests.inference.conftest import TOKEN, running

pytestmark = pytest.mark.slow  # starts real processes


def connect(engine) -> socket.socket:
    peer = socket.socket(socket.AF_UNIX)
    peer.settimeout(5)
    peer.connect(Address.parse(engine.address).path)
    return peer


def read_all(peer: socket.socket) -> list:
    frames, answers = wire.Frames(), []
    while data := peer.recv(65536):
        answers += [wire.read_answer(body) for body in frames.feed(data)]
    return answers


def test_addresses_are_read_in_all_their_forms():
    assert Address.parse("unix:/a/b").path == Address.parse("unix:///a/b").path == "/a/b"
    assert Address.parse("127.0.0.1:70") == Address.parse("tcp://127.0.0.1:70") == Address("127.0.0.1", 70)
    for text in ("", "nowhere", "unix:relative", "host:port", "host:99999", "http://host:80"):
        with pytest.raises(ValueError, match="Bad engine address"):
            Address.parse(text)


def test_a_base_whose_own_server_is_away_is_not_announced(engine):
    with engine.client() as client:
        report = client.health()
    assert report.ready_bases == report.bases == [BASE.name]
    away = wire.WriterReport(BASE.name, "bf16", *[0] * 13, backend="vllm", ready=False)
    assert msgspec.structs.replace(report, writers=[away]).ready_bases == []


def test_a_wrong_token_is_refused(engine):
    with pytest.raises(Unauthorised, match="token is wrong"), BlockingClient(engine.address, "guess"):
        pass


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (wire.pack(wire.Health(1)), "unauthorised"),
        (wire.pack(wire.Hello(wire.PROTOCOL + 1, TOKEN)), "unauthorised"),
        (wire.pack(wire.Hello(wire.OLDEST - 1, TOKEN)), "unauthorised"),
        (wire.pack(wire.Hello(wire.OLDEST, TOKEN)) + struct.pack(">I", 3) + b"abc", "bad_request"),
        (struct.pack(">I", 2**31), "too_large"),
        (struct.pack(">I", 3) + b"abc", "bad_request"),
        (b"GET / HTTP/1.1\r\n\r\n", "too_large"),
    ],
)
def test_a_peer_that_speaks_nonsense_is_told_so_and_closed(engine, sent, code):
    with connect(engine) as peer:
        peer.sendall(sent)
        answers = [answer for answer in read_all(peer) if not isinstance(answer, wire.Welcome)]
    assert [answer.code for answer in answers] == [code]


def test_what_breaks_an_open_connection_is_nobodys_bad_request():
    async def work() -> None:
        connection, loop = Connection(), asyncio.get_running_loop()
        connection.data_received(wire.pack(wire.Welcome(wire.PROTOCOL, "x")))
        connection.waiting[1] = waiting = loop.create_future()
        writing = Generation(connection, 2, 5.0)
        connection.data_received(wire.pack(wire.Failed(0, "bad_request", "An unreadable message: 7")))
        for answer in (waiting, anext(writing)):
            with pytest.raises(Unavailable, match="broke off: An unreadable message"):
                await answer

    asyncio.run(work())


def test_frames_survive_any_cut():
    messages = [wire.pack(wire.Hello(1, "x" * n)) for n in (0, 1, 300)]
    stream = b"".join(messages)
    for size in (1, 3, 7, len(stream)):
        frames, bodies = wire.Frames(), []
        for start in range(0, len(stream), size):
            bodies += frames.feed(stream[start : start + size])
        assert [wire.read_request(body).token for body in bodies] == ["", "x", "x" * 300]


def test_many_calls_in_flight_find_their_own_answers(engine):
    async def run():
        client = EngineClient(engine.address, TOKEN)
        texts = [f"{'word ' * (n % 7)}number {n}" for n in range(200)]
        counted = await client.count(base=BASE.name, texts=texts)
        answers = await asyncio.gather(*(client.embed(tenant="t", base=BASE.name, texts=[text]) for text in texts))
        await client.close()
        return counted.lengths, [answer.lengths[0] for answer in answers]

    counted, answered = asyncio.run(run())
    assert counted == answered


def test_answers_larger_than_a_socket_takes_are_whole_for_a_caller_who_reads_late(engine):
    requests, rows = 6, 300
    with connect(engine) as peer, engine.client() as other:
        before = other.health().rows
        peer.sendall(wire.pack(wire.Hello(wire.PROTOCOL, TOKEN)))
        for number in range(1, requests + 1):
            peer.sendall(wire.pack(wire.Embed(number, "late", ["a text"] * rows, base=BASE.name)))
        while other.health().rows - before < requests * rows:
            time.sleep(0.05)  # all are computed, and next to nothing was read
        frames, answers = wire.Frames(), []
        while len(answers) <= requests:
            answers += [wire.read_answer(body) for body in frames.feed(peer.recv(65536))]
    assert {answer.id for answer in answers[1:]} == set(range(1, requests + 1))
    assert all(len(answer.vectors) == rows * answer.width * 4 for answer in answers[1:])


def test_answers_of_callers_who_left_reach_nobody_else(engine):
    """Their sockets' numbers are given to whoever connects next, while lanes still compute for them."""
    with engine.client() as client:
        for number in range(150):
            with connect(engine) as leaver:
                leaver.sendall(wire.pack(wire.Hello(wire.PROTOCOL, TOKEN)))
                leaver.sendall(wire.pack(wire.Embed(1_000_000 + number, "leaver", ["gone"] * 3, base=BASE.name)))
                time.sleep(number % 10 / 1000)
            with connect(engine) as peer:
                peer.sendall(wire.pack(wire.Hello(wire.PROTOCOL, TOKEN)))
                peer.sendall(wire.pack(wire.Embed(number, "stays", ["here"] * 2, base=BASE.name)))
                frames, answers = wire.Frames(), []
                while len(answers) < 2:
                    answers += [wire.read_answer(body) for body in frames.feed(peer.recv(65536))]
            assert [type(answer) for answer in answers] == [wire.Welcome, wire.Embedded]
            assert answers[1].id == number
        assert len(client.embed(tenant="stays", base=BASE.name, texts=["after"]).lengths) == 1


def test_a_cancelled_call_is_cancelled_in_the_engine(engine):
    async def run():
        client = EngineClient(engine.address, TOKEN)
        before = (await client.health()).cancelled
        tasks = [
            asyncio.create_task(client.embed(tenant="t", base=BASE.name, texts=["long text " * 200] * 200))
            for _ in range(3)
        ]
        await asyncio.sleep(0.1)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        health = await client.health()
        await client.embed(tenant="u", base=BASE.name, texts=["short"], timeout=20)
        await client.close()
        return health.cancelled - before

    assert asyncio.run(run()) >= 1


def test_what_takes_longer_than_the_caller_waits_is_told_apart_from_an_engine_that_is_gone(engine):
    async def run():
        client = EngineClient(engine.address, TOKEN, timeout=0.1)
        with pytest.raises(Late):
            await client.embed(tenant="t", base=BASE.name, texts=["long text " * 200] * 200)
        await client.embed(tenant="u", base=BASE.name, texts=["short"], timeout=20)
        await client.close()

    asyncio.run(run())


def test_a_call_that_could_not_be_answered_in_time_is_ended_as_soon_as_that_is_known_and_then_refused():
    long, little = ["long text " * 200] * 2048, ["long text " * 200] * 8
    with running("--precision", "fp32", "--longest", "1") as engine, engine.client() as client:
        with pytest.raises(TooLarge, match=r"and one may take 1\. Divide its texts into"):
            client.embed(tenant="t", base=BASE.name, texts=long)
        before = client.health()
        with pytest.raises(TooLarge, match="Divide"):
            client.embed(tenant="t", base=BASE.name, texts=long)
        after = client.health()
        assert (after.rows, after.queued_rows) == (before.rows, 0), "nothing was computed for the second"
        assert before.rows < 2048, "nor all of the first"
        assert len(client.embed(tenant="t", base=BASE.name, texts=little).lengths) == 8


def test_the_client_opens_a_new_connection_after_a_restart(tmp_path):
    async def run(address):
        client = EngineClient(address, TOKEN)
        await client.health()
        return client

    loop = asyncio.new_event_loop()
    with running("--precision", "fp32") as engine:
        client = loop.run_until_complete(run(engine.address))
        loop.run_until_complete(client.health())
        client._connection.close()
        loop.run_until_complete(asyncio.sleep(0.05))
        loop.run_until_complete(client.health())
    with pytest.raises(Unavailable):
        loop.run_until_complete(client.health())
    loop.run_until_complete(client.close())
    loop.close()


def test_leaving_takes_no_longer_than_the_time_to_drain(tmp_path):
    async def work() -> None:
        settings = Settings(Address.parse(f"unix:{tmp_path}/socket"), backend="openvino", precision="fp32", drain_s=0.6)
        server = Server(Engine(settings))
        await server.start()  # its engine is never started, so that what it takes is never answered
        client = EngineClient(str(settings.listen))
        asking = asyncio.create_task(client.embed(tenant="t", base=BASE.name, texts=["a"]))
        while not server.pending:
            await asyncio.sleep(0.01)
        began = time.monotonic()
        await server.stop()
        assert 0.6 <= time.monotonic() - began < 1.1
        with pytest.raises(Unavailable):
            await asking
        await client.close()

    asyncio.run(work())


def test_loading_what_is_not_there_says_so(engine, tmp_path):
    made = make(tmp_path / "a")
    with engine.client() as client:
        with pytest.raises(BadArtefact, match="does not exist"):
            client.load(tenant="t", model="m", folder=str(tmp_path / "nothing"), sha256=made.sha256)
        with pytest.raises(BadArtefact, match="registered"):
            client.load(tenant="t", model="m", folder=str(made.folder), sha256="0" * 64)
        with pytest.raises(NotResident):
            client.classify(tenant="t", model="m", texts=["x"])


def test_memory_is_bounded_and_outsiders_folders_are_closed(tmp_path):
    inside = tmp_path / "inside"
    first, second = make(inside / "1", "full", seed=1), make(inside / "2", "full", seed=2)
    outside = make(tmp_path / "outside")
    arguments = ("--precision", "fp32", "--resident-mib", "128", "--floor-mib", "0", "--root", str(inside))
    with running(*arguments) as engine, engine.client() as client:
        client.load(tenant="a", model="m", folder=str(first.folder), sha256=first.sha256)
        client.load(tenant="b", model="m", folder=str(second.folder), sha256=second.sha256)
        health = client.health()
        assert [resident.tenant for resident in health.residents] == ["b"]
        assert health.evictions == 1
        with pytest.raises(BadArtefact, match="outside the folders"):
            client.load(tenant="a", model="x", folder=str(outside.folder), sha256=outside.sha256)
    with running("--resident-mib", "10", "--root", str(inside)) as engine, engine.client() as client:
        with pytest.raises(NoRoom, match="all models together"):
            client.load(tenant="a", model="m", folder=str(first.folder), sha256=first.sha256)
