"""A process and everything it started: finding it, measuring it, ending it. Read from /proc; nothing where none is.

A child leaves its parent's group with one call, and its parent with two forks. It stays in the tree all the same while
its first ancestor lives, which `kit.sandbox` makes the reaper of all below it. Beyond that, a variable of the
environment marks what belongs together.
"""

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

MARK = "PROCESS_MARK"
"""The variable that every process of one run carries."""
ROUNDS = 100
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Process:
    """One living process; `started` in the kernel's ticks tells a number used again apart."""

    pid: int
    parent: int
    started: int
    resident: int
    """Bytes, shared ones included."""


def table() -> dict[int, Process]:
    """Every living process. One that ended but was not collected is not living."""
    found = {}
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if name.isdigit() and (one := read(int(name))) is not None:
            found[one.pid] = one
    return found


def tree(leader: int, known: dict[int, Process]) -> list[Process]:
    """The leader, if it lives, and all below it."""
    below: dict[int, list[Process]] = {}
    for one in known.values():
        below.setdefault(one.parent, []).append(one)
    found = [known[leader]] if leader in known else []
    waiting = [leader]
    while waiting:
        children = below.get(waiting.pop(), [])
        found += children
        waiting += [one.pid for one in children]
    return found


def marked(mark: str) -> list[int]:
    """Processes that carry the mark in their environment."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():
        with contextlib.suppress(OSError):
            if name.isdigit() and wanted in Path(f"/proc/{name}/environ").read_bytes().split(b"\0"):
                found.append(int(name))
    return found


def proportional(pids: Iterable[int]) -> int:
    """Bytes in memory, with what processes share counted once. Slower than adding up `resident`."""
    return sum(_proportional(pid) for pid in pids)


def end_tree(leader: int) -> None:
    """Kill a child of ours and everything below it. All of them stand still first, and so start nothing more; the child
    goes last, since what loses its parent falls to it."""
    still: set[int] = set()
    for _ in range(ROUNDS):
        moving = {one.pid for one in tree(leader, table())} - still
        if not moving:
            break
        for pid in moving:
            _signal(pid, signal.SIGSTOP)
        still |= moving
    for _ in range(ROUNDS):
        below = [one.pid for one in tree(leader, table()) if one.pid != leader]
        if not below:
            break
        for pid in below:
            _signal(pid, signal.SIGKILL)
        time.sleep(0.002)
    _signal(leader, signal.SIGKILL)


def end_marked(mark: str, also: Iterable[Process] = ()) -> int:
    """Kill what carries the mark, and those processes of `also` that still live; how many there were."""
    gone = set()
    for _ in range(ROUNDS):
        living = {pid for pid in marked(mark) if read(pid) is not None}
        living |= {one.pid for one in also if (now := read(one.pid)) is not None and now.started == one.started}
        if not living:
            break
        for pid in living:
            _signal(pid, signal.SIGKILL)
        gone |= living
        time.sleep(0.002)
    return len(gone)


def read(pid: int) -> Process | None:
    """One process; None when it is not living."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return None
    if words[0] in ("Z", "X"):
        return None
    return Process(pid, parent=int(words[1]), started=int(words[19]), resident=int(words[21]) * PAGE)


def _proportional(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        one = read(pid)
        return one.resident if one is not None else 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:")), 0)


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
