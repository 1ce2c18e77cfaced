"""Memory of this host: how much there is, how much is free, and whether the kernel has killed something of ours for it.

Read from the control group, where there is one, and from /proc.
"""

from pathlib import Path

_FILE = Path("/sys/fs/cgroup/memory.events")
_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def oom_kills() -> int:
    """How often the kernel has killed in this control group; 0 where it does not say."""
    try:
        lines = _FILE.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def total() -> int:
    """Bytes of this host, or of this container where it has fewer."""
    return min([_meminfo("MemTotal"), *_limits()])


def free() -> int:
    """Bytes that a new process can have before the host swaps or kills."""
    return _meminfo("MemAvailable")


def _limits() -> list[int]:
    found = []
    for path in _LIMITS:
        try:
            word = path.read_text().strip()
        except OSError:
            continue
        if word.isdigit():
            found.append(int(word))
    return found


def _meminfo(name: str) -> int:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(f"{name}:"))
