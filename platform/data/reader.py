"""Run the pure parts in a process of their own: no secrets in its environment, capped memory and time.

A hostile file can at worst kill that process, which is reported as a finding about the file.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
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
        command = [sys.executable, "-m", module, str(asked)]
        try:
            done = subprocess.run(
                command, cwd=folder, env=environment, capture_output=True, timeout=READER_SECONDS, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise ReaderDied(f"reading took more than {READER_SECONDS // 60} minutes", file_fault=True) from error
    if done.returncode == 0:
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer
    tail = done.stderr[-ERROR_TAIL:].decode("utf-8", "replace")
    where = [line.strip() for line in tail.splitlines() if line.startswith("  File ")]
    kind = tail.strip().rsplit("\n", 1)[-1].partition(":")[0][:80]
    if done.returncode in OUT_OF_MEMORY or "MemoryError" in tail or "malloc" in tail:
        raise ReaderDied("reading it takes more memory than a file may use", file_fault=True)
    # The message of an exception may quote the file; only its kind and place are for the log.
    raise ReaderDied(f"exit {done.returncode}, {kind} at {where[-1:]}", file_fault=False)
