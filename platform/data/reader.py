"""Run the pure parts in a process of their own: no secrets in its environment, capped memory and time.

A hostile file can at worst kill that process, which is reported as a finding about the file.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data.limits import READER_MEMORY_BYTES, READER_SECONDS

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
    with tempfile.TemporaryDirectory(prefix="reader-") as folder:
        command, environment = _call(module, request, folder)
        try:
            done = subprocess.run(
                command, cwd=folder, env=environment, capture_output=True, timeout=READER_SECONDS, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise ReaderDied(f"reading took more than {READER_SECONDS // 60} minutes", file_fault=True) from error
    if done.returncode == 0:
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer
    raise _death(done.returncode, done.stderr[-ERROR_TAIL:])


def lines(module: str, request: dict[str, Any]) -> Iterator[bytes]:
    """Run `python -m module` on the request and yield the lines it prints, as it prints them.

    Closing the iterator ends the process. ReaderDied when it fails, also after some lines.
    """
    with tempfile.TemporaryDirectory(prefix="reader-") as folder, tempfile.TemporaryFile() as errors:
        command, environment = _call(module, request, folder)
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=errors)
        late = threading.Timer(READER_SECONDS, process.kill)
        late.daemon = True
        late.start()
        try:
            assert process.stdout is not None  # noqa: S101 - a pipe was asked for
            yield from process.stdout
            code = process.wait()
        finally:
            late.cancel()
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
        if code:
            errors.seek(max(0, errors.seek(0, os.SEEK_END) - ERROR_TAIL))
            raise _death(code, errors.read())


def _call(module: str, request: dict[str, Any], folder: str) -> tuple[list[str], dict[str, str]]:
    """The command and the bare environment of a reader that works in `folder`."""
    asked = Path(folder) / "request.json"
    asked.write_text(json.dumps({**request, "memory_bytes": READER_MEMORY_BYTES}), encoding="utf-8")
    environment = {
        "PATH": os.environ.get("PATH", ""),
        "PYTHONPATH": str(PLATFORM),
        "PYTHONUTF8": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "TMPDIR": folder,
    }
    return [sys.executable, "-m", module, str(asked)], environment


def _death(code: int, errors: bytes) -> ReaderDied:
    """Why a reader ended, from its exit status and the end of what it wrote."""
    tail = errors.decode("utf-8", "replace")
    where = [line.strip() for line in tail.splitlines() if line.startswith("  File ")]
    kind = tail.strip().rsplit("\n", 1)[-1].partition(":")[0][:80]
    if code in OUT_OF_MEMORY or "MemoryError" in tail or "malloc" in tail:
        return ReaderDied("reading it takes more memory than a file may use", file_fault=True)
    # The message of an exception may quote the file; only its kind and place are for the log.
    return ReaderDied(f"exit {code}, {kind} at {where[-1:]}", file_fault=False)
