"""The trainer's process: its own session and process group, a clean environment, events read line by line.

It gets no secret: no address of the database, of Redis or of storage, no key. It dies with its worker (the kernel sees
to that), and the whole group can be stopped or killed at once.
"""

import contextlib
import ctypes
import json
import logging
import os
import queue
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from django.conf import settings

logger = logging.getLogger(__name__)

PASSED_ON = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES")
MODULE = "training.lab"
MAX_LINE = 1 << 20
PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class Trainer:
    """One running trainer. `folder` is its working directory, home and temporary folder."""

    def __init__(self, config: Path, *, folder: Path) -> None:
        self._log_path = folder / "trainer.log"
        self._killed = False
        self._events: queue.Queue[dict[str, Any] | None] = queue.Queue()
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-u", "-m", MODULE, str(config)],
                stdout=subprocess.PIPE,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd=folder,
                env=environment(folder),
                start_new_session=True,
                preexec_fn=_die_with_worker if _LIBC is not None else None,
            )
        self._reader = threading.Thread(target=self._read, name="trainer-events", daemon=True)
        self._reader.start()
        self._finished = False

    @property
    def pid(self) -> int:
        """The trainer's process, and the group's."""
        return self._process.pid

    def next(self, timeout: float) -> dict[str, Any] | None:
        """The next event, or None when none came in time."""
        if self._finished:
            return None
        try:
            event = self._events.get(timeout=timeout)
        except queue.Empty:
            return None
        if event is None:
            self._finished = True
        return event

    @property
    def ended(self) -> bool:
        """Whether it has said its last word and is gone."""
        return self._finished and self._process.poll() is not None

    def wait(self) -> int:
        """The exit status: negative for a signal."""
        return self._process.wait()

    def ask_stop(self) -> None:
        """SIGTERM: write a checkpoint and leave."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL to the whole group."""
        self._killed = True
        self._signal(signal.SIGKILL)

    @property
    def was_killed_by_us(self) -> bool:
        """Whether `kill` was called."""
        return self._killed

    def close(self) -> None:
        """Leave nothing behind: kill what is left of the group and reap it."""
        self.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        self._reader.join(5)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def last_words(self, lines: int = 30) -> str:
        """The end of its stderr, for the operator's log; never shown to a tenant."""
        try:
            return "\n".join(self._log_path.read_text(errors="replace").splitlines()[-lines:])
        except OSError:
            return ""

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def _read(self) -> None:
        """Runs in a thread: lines into the queue, then None."""
        stream = self._process.stdout
        if stream is None:
            self._events.put(None)
            return
        try:
            while raw := stream.readline(MAX_LINE):
                event = _parse(raw)
                if event is not None:
                    self._events.put(event)
        except ValueError:  # the pipe was closed while we read
            logger.debug("the trainer's pipe was closed")
        finally:
            self._events.put(None)


def _parse(raw: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) else None


def environment(folder: Path) -> dict[str, str]:
    """What the trainer may know of this machine."""
    kept = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return kept | {
        "PYTHONPATH": f"{settings.ROOT}{os.pathsep}{settings.ROOT / 'platform'}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
    }


def _die_with_worker() -> None:
    """Runs in the child before exec: no core dumps with a tenant's rows; the kernel kills it when its worker dies."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if _LIBC is not None:
        _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
