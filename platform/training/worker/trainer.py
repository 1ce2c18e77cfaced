"""The trainer's process: confined, in a clean environment, its events read line by line.

It gets no secret: no address of the database, of Redis or of storage, no key. It sees its attempt's folder, the base
and the code (`kit.sandbox`). It dies with its worker, and nothing it started outlives it: by its control group where
there is one, by its namespace where bubblewrap runs it, else by its tree and its mark (`kit.processes`).

Its events come through a pipe whose other end only this attempt's processes hold: the pipe itself is the right to
report, and a token beside it would prove nothing more (docs/decisions/0025).
"""

import contextlib
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.conf import settings

from kit import sandbox
from kit.cgroups import Group
from kit.processes import MARK, Process, end_marked, end_tree, read, table, tree
from training.worker import contract

logger = logging.getLogger(__name__)

PASSED_ON = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES")
MODULE = "training.lab"
CODE = ("platform", "inference")
"""What of the installation a trainer reads."""
MOST_WAITING = 10_000
"""Events that nobody has taken yet: as many as an honest run tells while the database is away."""
LAST_BYTES = 1 << 16
SHARED_BYTES = 2 << 30


class Trainer:
    """One running trainer. `folder` is its working directory, home and temporary folder; `base` is read beside it, and
    `also` written: with several configs each run has a folder of its own (`worker/together.py`). `gpus` are what it may
    use, as CUDA_VISIBLE_DEVICES names them; None leaves the worker's own."""

    runs = 1
    """How many jobs take turns in the process."""

    def __init__(
        self,
        *configs: Path,
        folder: Path,
        also: Sequence[Path] = (),
        base: Path | None = None,
        gpus: str | None = None,
        memory_bytes: int,
        processes: int,
    ) -> None:
        self._killed = False
        self._events: queue.Queue[dict[str, Any] | None] = queue.Queue(MOST_WAITING)
        self._closed = threading.Event()
        self._mark = folder.name
        self._group = Group.make(folder.name, memory_bytes=memory_bytes, processes=processes)
        self._seen: list[Process] = []
        self._confined = sandbox.in_force(settings.SANDBOX)
        code = tuple(Path(settings.ROOT) / name for name in CODE)
        reach = sandbox.Reach(
            read=code if base is None else (*code, base),
            write=(folder, *also),
            devices=sandbox.nvidia_devices(),
            shared_bytes=SHARED_BYTES,
        )
        # Held open: the trainer may put something else under that name.
        self._log = (folder / "trainer.log").open("ab+")
        try:
            self._process = sandbox.start(
                [sys.executable, "-u", "-m", MODULE, *map(str, configs)],
                mode=settings.SANDBOX,
                reach=reach,
                folder=folder,
                environment=environment(folder) | ({} if gpus is None else {"CUDA_VISIBLE_DEVICES": gpus}),
                streams=sandbox.Streams(stdout=subprocess.PIPE, stderr=self._log),
                hostname="trainer",
                before=self._group.enter if self._group is not None else None,
            )
        except BaseException:
            self._log.close()
            raise
        self._reader = threading.Thread(target=self._read, name="trainer-events", daemon=True)
        self._reader.start()
        self._finished = False

    @property
    def pid(self) -> int:
        """The process we started: the trainer, or what confines it."""
        return self._process.pid

    def processes(self) -> list[Process]:
        """Everything that runs for it now; remembered, so that what leaves the tree is still found at the end."""
        members = self._group.members() if self._group is not None else []
        if members:
            return [one for pid in members if (one := read(pid)) is not None]
        known = table()
        found = tree(self._process.pid, known)
        living = [one for one in self._seen if one.pid in known and known[one.pid].started == one.started]
        self._seen = [*{one.pid: one for one in (*living, *found)}.values()]
        return found

    @property
    def oom_kills(self) -> int:
        """How often the kernel has killed in its control group for memory."""
        return self._group.oom_kills() if self._group is not None else 0

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
        """Whether it has said its last word and is gone. A data loader that outlives it would hold its pipe open, and
        its lease with it: it goes with its trainer."""
        if not self._finished and self._has_exited():
            if self._group is not None:
                self._group.kill()
            end_marked(self._mark, also=self._seen)
        return self._finished and self._process.poll() is not None

    def _has_exited(self) -> bool:
        """Without reaping it: its number still belongs to its group."""
        try:
            return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:
            return True

    def wait(self) -> int:
        """The exit status: negative for a signal."""
        status = self._process.wait()
        return sandbox.exit_status(status) if self._confined else status

    def ask_stop(self) -> None:
        """SIGTERM to the trainer's group: write a checkpoint and leave."""
        # What confines it would take the signal as its own end. Its child leads the group inside, and as the first
        # process of a namespace is deaf to it.
        leaders = [self._process.pid]
        if self._confined:
            leaders = [one.pid for one in table().values() if one.parent == self._process.pid]
        for leader in leaders:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(leader, signal.SIGTERM)

    def kill(self, *, everybody: bool = True) -> None:
        """SIGKILL to everything; it has one run, so that is `everybody`."""
        self._killed = True
        if self._group is not None:
            self._group.kill()
        if self._process.poll() is None:
            end_tree(self._process.pid)

    @property
    def was_killed_by_us(self) -> bool:
        """Whether `kill` was called."""
        return self._killed

    def close(self) -> None:
        """Leave nothing behind: kill what is left of it, wherever it went, and reap it."""
        self.kill()
        self._closed.set()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        left = end_marked(self._mark, also=self._seen)
        if left:
            logger.warning("ended %s processes that attempt %s had left behind", left, self._mark)
        if self._group is not None:
            self._group.close()
        self._reader.join(5)
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._log.close()

    def last_words(self, lines: int = 30) -> str:
        """The end of its stderr, for the operator's log; never shown to a tenant."""
        try:
            size = os.fstat(self._log.fileno()).st_size
            words = os.pread(self._log.fileno(), LAST_BYTES, max(0, size - LAST_BYTES))
            return "\n".join(words.decode("utf-8", "replace").splitlines()[-lines:])
        except (OSError, ValueError):
            return ""

    def _read(self) -> None:
        """Runs in a thread: lines into the queue, then None."""
        stream = self._process.stdout
        if stream is None:
            self._hand_on(None)
            return
        try:
            while raw := stream.readline(contract.MAX_LINE):
                event = contract.parse(raw)
                if event is not None:
                    self._hand_on(event)
        except ValueError:  # the pipe was closed while we read
            logger.debug("the trainer's pipe was closed")
        finally:
            self._hand_on(None)

    def _hand_on(self, event: dict[str, Any] | None) -> None:
        """Into the queue. While that is full the pipe fills up, and the trainer waits."""
        while not self._closed.is_set():
            with contextlib.suppress(queue.Full):
                self._events.put(event, timeout=0.5)
                return


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
        MARK: folder.name,
    }
