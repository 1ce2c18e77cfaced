"""A control group (version 2) for one process and all it starts, where this process may make one.

Whoever is in it can leave only where it may write to the tree of groups, which a confined process cannot. Ending it is
one write, and misses nobody. Memory and process limits hold where the operator has delegated those controllers; without
them the group still counts and ends.
"""

import contextlib
import os
import time
from pathlib import Path

MOUNTS = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified"))


def home() -> Path | None:
    """The group this process is in, if groups can be made inside it."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    own = next((line.removeprefix("0::") for line in lines if line.startswith("0::")), "")
    for mount in MOUNTS if own else ():
        folder = mount / own.lstrip("/")
        if (folder / "cgroup.controllers").exists() and os.access(folder / "cgroup.procs", os.W_OK):
            return folder if os.access(folder, os.W_OK) else None
    return None


def end(name: str) -> None:
    """End and remove the group of this name below our own, if there is one: its maker may have died."""
    above = home()
    if above is not None and (above / name).is_dir():
        Group(above / name).close()


class Group:
    """One group below our own."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def make(cls, name: str, *, memory_bytes: int, processes: int) -> "Group | None":
        """A group of this name with what limits can be set; None where none can be made."""
        above = home()
        if above is None:
            return None
        group = cls(above / name)
        try:
            group.path.mkdir(exist_ok=True)
        except OSError:
            return None
        if not (group.path / "cgroup.kill").exists():  # Linux before 5.14
            group.close()
            return None
        group._write("memory.max", str(memory_bytes))
        group._write("memory.swap.max", "0")
        group._write("memory.oom.group", "1")
        group._write("pids.max", str(processes))
        return group

    def enter(self) -> None:
        """Move the calling process in: it and all it starts belong to the group. Where that is refused it stays out."""
        self._write("cgroup.procs", "0")

    def members(self) -> list[int]:
        """The processes in it."""
        try:
            return [int(word) for word in (self.path / "cgroup.procs").read_text().split()]
        except (OSError, ValueError):
            return []

    def oom_kills(self) -> int:
        """How often the kernel has killed in it for memory."""
        try:
            lines = (self.path / "memory.events").read_text().splitlines()
        except OSError:
            return 0
        return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)

    def kill(self) -> None:
        """End everything in it."""
        self._write("cgroup.kill", "1")

    def close(self) -> None:
        """End everything in it and remove it."""
        self.kill()
        for _ in range(100):
            try:
                self.path.rmdir()
            except FileNotFoundError:
                return
            except OSError:  # the last of it is still ending
                time.sleep(0.01)
            else:
                return

    def _write(self, name: str, value: str) -> None:
        with contextlib.suppress(OSError):
            (self.path / name).write_text(value)
