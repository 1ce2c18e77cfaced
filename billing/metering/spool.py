"""The write-ahead file of usage events.

A process appends each event with one `write` call before the last byte of its answer leaves. What a completed `write`
was given survives the death of the process (kill -9 included), because it is in the kernel's page cache. It survives
the death of the machine only up to the last fsync: `fsync_seconds` apart (the shipper calls `sync`), or each time with
0. A lost second of usage is our loss, never the tenant's.

Format: one line per event, `LLLLLLLL CCCCCCCC {json}\n`: length and CRC-32 of the JSON in hex, so a file reads with
`less` and a torn tail (the machine died inside a write) or a flipped bit is seen and skipped. Files are named
`usage-<opened ns>-<pid>.wal`, held under an exclusive lock while their process lives, and removed only after all
their events are in Postgres.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

from billing.metering.events import UsageEvent, decode, encode

_HEAD = 18  # two 8-digit hex numbers, each with a space


class SpoolError(Exception):
    """The event could not be made durable: the call it belongs to must not be answered as a success."""


class SpoolWriter:
    """Appends events. Thread-safe; one per process and folder."""

    def __init__(self, folder: Path | str, *, max_bytes: int = 8 << 20, fsync_seconds: float = 1.0) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._max_bytes, self._fsync_seconds = max_bytes, fsync_seconds
        self._lock = threading.Lock()
        self._file = -1
        self._size = 0
        self._synced_at = time.monotonic()
        self.path = self._open()

    def append(self, event: UsageEvent) -> None:
        """Make one event survive this process. Raises SpoolError, with the file as it was before."""
        body = encode(event)
        line = b"%08x %08x %b\n" % (len(body), zlib.crc32(body), body)
        with self._lock:
            try:
                written = os.write(self._file, line)
            except OSError as error:
                raise SpoolError(f"cannot record usage: {error}") from error
            if written != len(line):
                with contextlib.suppress(OSError):
                    os.ftruncate(self._file, self._size)
                raise SpoolError("cannot record usage: the disk is full")
            self._size += written
            if self._fsync_seconds == 0:
                os.fsync(self._file)

    def sync(self) -> None:
        """Push to the disk what is due; the shipper calls it about every `fsync_seconds`."""
        if time.monotonic() - self._synced_at >= self._fsync_seconds:
            os.fsync(self._file)
            self._synced_at = time.monotonic()

    def rotate(self, *, force: bool = False) -> Path | None:
        """Begin a new file when this one is large (or `force` and not empty); returns the closed one."""
        with self._lock:
            if self._size == 0 or (self._size < self._max_bytes and not force):
                return None
            closed, old = self.path, self._file
            self.path = self._open()
            os.fsync(old)
            os.close(old)
            return closed

    def close(self) -> None:
        """Let go of the file; what was not shipped is found by the next shipper of the folder."""
        with self._lock:
            if self._file >= 0:
                os.fsync(self._file)
                os.close(self._file)
                self._file = -1

    def _open(self) -> Path:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        while True:
            path = self.folder / f"usage-{time.time_ns():020d}-{os.getpid()}.wal"
            file = os.open(path, flags, 0o600)
            fcntl.flock(file, fcntl.LOCK_EX)
            # Between creation and lock another shipper may have taken the empty file for an abandoned one.
            if os.fstat(file).st_nlink:
                self._file, self._size = file, 0
                return path
            os.close(file)


def read_events(path: Path, offset: int = 0) -> Iterator[tuple[UsageEvent, int]]:
    """Whole, undamaged events from `offset` on, each with the offset behind it.

    Stops before a line still being written; skips a damaged line and goes on with the next.
    """
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            offset += len(line)
            if not line.endswith(b"\n"):
                return
            event = _parse(line)
            if event is not None:
                yield event, offset


def _parse(line: bytes) -> UsageEvent | None:
    try:
        length, crc = int(line[:8], 16), int(line[9:17], 16)
        body = line[_HEAD:-1]
        if len(body) != length or zlib.crc32(body) != crc:
            return None
        return decode(body)
    except ValueError:  # msgspec.DecodeError is one
        return None


def abandoned(folder: Path) -> Iterator[tuple[Path, int]]:
    """Files whose process is gone, each locked for us (path, descriptor); the caller closes the descriptor."""
    for path in sorted(folder.glob("usage-*.wal")):
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            continue
        yield path, file
