"""Has the kernel killed something of ours for memory? Read from the control group, where there is one."""

from pathlib import Path

_FILE = Path("/sys/fs/cgroup/memory.events")


def oom_kills() -> int:
    """How often the kernel has killed in this control group; 0 where it does not say."""
    try:
        lines = _FILE.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
