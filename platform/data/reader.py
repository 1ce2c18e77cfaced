"""Run the pure parts in a process of their own: no secrets in its environment, capped memory and time, and, where the
machine can (`kit.sandbox`), no network and no file but those it is asked about.

A hostile file can at worst kill that process, which is reported as a finding about the file.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from django.conf import settings

from data.limits import READER_MEMORY_BYTES, READER_SECONDS
from kit import sandbox
from kit.processes import MARK, end_marked, end_tree

PLATFORM = Path(__file__).resolve().parents[1]
ERROR_TAIL = 2_000
OUT_OF_MEMORY = (-signal.SIGKILL, -signal.SIGABRT, -signal.SIGSEGV)


class ReaderDied(Exception):
    """The process ended without an answer; `file_fault` when the file is the likely cause (memory, time)."""

    def __init__(self, message: str, *, file_fault: bool) -> None:
        super().__init__(message)
        self.file_fault = file_fault


def run(module: str, request: dict[str, Any]) -> dict[str, Any]:
    """Run `python -m module` on the request and return its JSON answer; ReaderDied without one."""
    with tempfile.TemporaryDirectory(prefix="reader-") as folder, tempfile.TemporaryFile() as errors:
        process = _start(module, request, Path(folder), errors)
        try:
            output, _ = process.communicate(timeout=READER_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise ReaderDied(f"reading took more than {READER_SECONDS // 60} minutes", file_fault=True) from error
        finally:
            _end(process, folder)
        if process.returncode == 0:
            answer: dict[str, Any] = json.loads(output)
            return answer
        raise _death(process.returncode, errors)


def lines(module: str, request: dict[str, Any]) -> Iterator[bytes]:
    """Run `python -m module` on the request and yield the lines it prints, as it prints them.

    Closing the iterator ends the process. ReaderDied when it fails, also after some lines.
    """
    with tempfile.TemporaryDirectory(prefix="reader-") as folder, tempfile.TemporaryFile() as errors:
        process = _start(module, request, Path(folder), errors)
        late = threading.Timer(READER_SECONDS, _stop, [process])
        late.daemon = True
        late.start()
        try:
            assert process.stdout is not None  # noqa: S101 - a pipe was asked for
            yield from process.stdout
            code = process.wait()
        finally:
            late.cancel()
            _end(process, folder)
        if code:
            raise _death(code, errors)


def _start(module: str, request: dict[str, Any], folder: Path, errors: IO[bytes]) -> subprocess.Popen[bytes]:
    """A reader that works in `folder`, in a bare environment."""
    asked = folder / "request.json"
    asked.write_text(json.dumps({**request, "memory_bytes": READER_MEMORY_BYTES}), encoding="utf-8")
    environment = {
        "PATH": os.environ.get("PATH", ""),
        "PYTHONPATH": str(PLATFORM),
        "PYTHONUTF8": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "TMPDIR": str(folder),
        MARK: folder.name,
    }
    return sandbox.start(
        [sys.executable, "-m", module, str(asked)],
        mode=settings.SANDBOX,
        reach=_reach(request, folder),
        folder=folder,
        environment=environment,
        streams=sandbox.Streams(stdout=subprocess.PIPE, stderr=errors),
        hostname="reader",
    )


def _reach(request: dict[str, Any], folder: Path) -> sandbox.Reach:
    """The files a request names: what it reads, and the folder of what it writes."""
    named = [request.get("path"), request.get("tokenizer"), *(part["path"] for part in request.get("parts", ()))]
    target = [Path(request["target"]).parent] if request.get("target") else []
    read = tuple(Path(name) for name in named if name)
    return sandbox.Reach(read=(PLATFORM, *read), write=(folder, *target))


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        end_tree(process.pid)


def _end(process: subprocess.Popen[bytes], folder: str) -> None:
    """Leave nothing behind of a reader, whether it has ended or not."""
    _stop(process)
    process.wait()
    if not sandbox.in_force(settings.SANDBOX):  # else its namespace has ended with it
        end_marked(Path(folder).name)
    if process.stdout is not None:
        with contextlib.suppress(OSError):
            process.stdout.close()


def _death(status: int, errors: IO[bytes]) -> ReaderDied:
    """Why a reader ended, from its exit status and the end of what it wrote."""
    code = sandbox.exit_status(status)
    errors.seek(max(0, errors.seek(0, os.SEEK_END) - ERROR_TAIL))
    tail = errors.read().decode("utf-8", "replace")
    where = [line.strip() for line in tail.splitlines() if line.startswith("  File ")]
    kind = tail.strip().rsplit("\n", 1)[-1].partition(":")[0][:80]
    if code in OUT_OF_MEMORY or "MemoryError" in tail or "malloc" in tail:
        return ReaderDied("reading it takes more memory than a file may use", file_fault=True)
    # The message of an exception may quote the file; only its kind and place are for the log.
    return ReaderDied(f"exit {code}, {kind} at {where[-1:]}", file_fault=False)
