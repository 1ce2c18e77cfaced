"""The fault proxy does the harm it is asked for, and none else."""

import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from django.conf import settings

from config import embedded
from tests.chaos.proxy import NONE, Fault, Proxy


class Echo(socketserver.BaseRequestHandler):
    """Says back what it hears."""

    def handle(self) -> None:
        """Until the client leaves."""
        while piece := self.request.recv(1 << 16):
            self.request.sendall(piece)


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    """In front of an echo."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        made = Proxy(("127.0.0.1", 0), ("127.0.0.1", server.server_address[1]))
        yield made
        made.close()
        server.shutdown()
        thread.join()


def dial(proxy: Proxy) -> socket.socket:
    """A client's connection."""
    client = socket.create_connection(("127.0.0.1", proxy.port), timeout=5)
    client.settimeout(5)
    return client


def heard(client: socket.socket, size: int) -> bytes:
    """So many bytes, or what came before the end."""
    found = b""
    while len(found) < size:
        try:
            piece = client.recv(size - len(found))
        except ConnectionError:
            break
        if not piece:
            break
        found += piece
    return found


def test_everything_passes_when_no_fault_is_set(proxy: Proxy) -> None:
    with dial(proxy) as client:
        client.sendall(b"x" * 200_000)
        assert heard(client, 200_000) == b"x" * 200_000


def test_latency_and_trickle_make_it_slow_and_lose_nothing(proxy: Proxy) -> None:
    with dial(proxy) as client:
        proxy.fault = Fault(latency=0.1)
        began = time.monotonic()
        client.sendall(b"hello")
        assert heard(client, 5) == b"hello" and time.monotonic() - began >= 0.2
        proxy.fault = Fault(trickle=10)
        began = time.monotonic()
        client.sendall(b"x" * 100)
        assert heard(client, 100) == b"x" * 100 and time.monotonic() - began >= 0.09


def test_a_connection_is_cut_refused_or_ended_on_demand(proxy: Proxy) -> None:
    with dial(proxy) as client:
        proxy.fault = Fault(cut_after=10)
        client.sendall(b"x" * 20)
        assert len(heard(client, 20)) < 20
    proxy.fault = Fault(refuse=True)
    with dial(proxy) as client:
        assert heard(client, 1) == b""
    proxy.fault = NONE
    with dial(proxy) as client:
        client.sendall(b"a")
        assert heard(client, 1) == b"a"
        proxy.cut()
        assert heard(client, 1) == b""


def test_a_hang_holds_what_is_sent_until_it_is_over(proxy: Proxy) -> None:
    with dial(proxy) as client:
        proxy.fault = Fault(hang=True)
        client.sendall(b"late")
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.recv(4)
        proxy.fault = NONE
        client.settimeout(5)
        assert heard(client, 4) == b"late"


def test_a_commit_whose_answer_is_lost_has_happened(tmp_path: Path) -> None:
    server = embedded.run_dir(settings.HOME) / "pg" / ".s.PGSQL.5432"
    proxy = Proxy(str(tmp_path / ".s.PGSQL.5432"), str(server))
    url = embedded.superuser_url(settings.HOME)
    try:
        with psycopg.connect(url) as admin:
            admin.execute("CREATE TABLE IF NOT EXISTS lost_commit (n int)")
            admin.execute("TRUNCATE lost_commit")
        client = psycopg.connect(f"postgresql://postgres@/postgres?host={tmp_path}")
        client.execute("INSERT INTO lost_commit VALUES (1)")
        proxy.fault = Fault(lose_commits=1.0)
        with pytest.raises(psycopg.OperationalError):
            client.commit()
        client.close()
        with psycopg.connect(url) as admin:
            assert admin.execute("SELECT count(*) FROM lost_commit").fetchone() == (1,)
            admin.execute("DROP TABLE lost_commit")
        assert proxy.commits_lost == 1
    finally:
        proxy.close()
