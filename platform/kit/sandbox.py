"""Starts a process that reads hostile bytes where it can do no harm.

With bubblewrap (`bwrap`): no network, namespaces of its own for processes, IPC and host name, a read-only root that
holds the system's libraries, the interpreter and what `Reach` names, a small private /tmp, no capability. Without it: a
session of its own. In both: no core dump, and it dies with the thread that started it. What the environment holds is
the caller's to say.
"""

import ctypes
import functools
import logging
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

logger = logging.getLogger(__name__)

AUTO, REQUIRED, OFF = "auto", "required", "off"
MODES = (AUTO, REQUIRED, OFF)
PROBE_SECONDS = 10.0
TMP_BYTES = 64 << 20
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/sys")
"""/sys for the number of cores, their quota, and GPUs."""
ETC = ("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "localtime", "passwd", "group", "nsswitch.conf")
NAMESPACES = (
    "--unshare-net",
    "--unshare-pid",
    "--unshare-ipc",
    "--unshare-uts",
    "--unshare-cgroup-try",
    "--new-session",
    "--die-with-parent",
    "--cap-drop",
    "ALL",
)
PROC = ("/proc/sys", "/proc/sysrq-trigger")
"""A worker that runs as root could write here without any capability: the kernel asks for the user alone."""
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class NotConfined(RuntimeError):
    """Confinement is required, and this machine cannot give it; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Reach:
    """What of this machine's files a process may see, beside the system's own. Names stay as they are outside."""

    read: tuple[Path, ...] = ()
    write: tuple[Path, ...] = ()
    devices: tuple[Path, ...] = ()
    shared_bytes: int = TMP_BYTES
    """Of /dev/shm, where processes that load data hand each other arrays."""


@dataclass(frozen=True, slots=True)
class Streams:
    """Where its output goes; it has no input."""

    stdout: int | IO[Any] = subprocess.DEVNULL
    stderr: int | IO[Any] = subprocess.DEVNULL


def start(
    argv: Sequence[str],
    *,
    mode: str,
    reach: Reach,
    folder: Path,
    environment: dict[str, str],
    streams: Streams,
    hostname: str,
    before: Callable[[], None] | None = None,
) -> subprocess.Popen[bytes]:
    """Start `argv` in `folder`, confined as `mode` says. `before` runs in the child, before anything of it.

    NotConfined when confinement is required and does not work.
    """
    confined = in_force(mode)
    words = command(argv, reach=reach, folder=folder, hostname=hostname) if confined else list(argv)

    def prepare() -> None:
        if before is not None:
            before()
        _prepare()

    return subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=streams.stdout,
        stderr=streams.stderr,
        cwd=folder,
        env=environment,
        start_new_session=True,
        preexec_fn=prepare if _LIBC is not None else None,
    )


@functools.cache
def in_force(mode: str) -> bool:
    """Whether processes are confined in this mode; said once in the log. NotConfined when they must be and cannot."""
    if mode == OFF:
        logger.warning("processes that read customers' data are not confined: SANDBOX=off")
        return False
    problem = fault()
    if not problem:
        logger.info("processes that read customers' data are confined by bubblewrap")
        return True
    if mode == REQUIRED:
        raise NotConfined(required_words(problem))
    logger.warning("processes that read customers' data have a session of their own and no more: %s", problem)
    return False


def required_words(problem: str) -> str:
    """What to say where confinement is required and does not work."""
    return (
        f"SANDBOX=required, but {problem}. Install bubblewrap and allow user namespaces, or set SANDBOX=auto to run "
        "trainers and parsers without it."
    )


@functools.cache
def fault() -> str:
    """Why bubblewrap does not work on this machine; empty when it does. Tried once, with all that `command` asks."""
    if sys.platform != "linux" or shutil.which("bwrap") is None:
        return "bubblewrap (bwrap) is not installed"
    words = command(["true"], reach=Reach(), folder=Path("/tmp"), hostname="probe")
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=PROBE_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"bubblewrap does not run: {type(error).__name__}"
    if done.returncode == 0:
        return ""
    said = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return f"bubblewrap does not run: {said[-1][:200] if said else f'exit status {done.returncode}'}"


def command(argv: Sequence[str], *, reach: Reach, folder: Path, hostname: str) -> list[str]:
    """The command that runs `argv` confined. A path of `reach.read` that is not there is left out."""
    words = ["bwrap", *NAMESPACES, "--hostname", hostname, *_system()]
    words += ["--proc", "/proc", *(word for name in PROC for word in ("--ro-bind-try", name, name))]
    words += ["--dev", "/dev", "--size", str(reach.shared_bytes), "--tmpfs", "/dev/shm"]
    words += ["--size", str(TMP_BYTES), "--tmpfs", "/tmp"]
    for path in (*_interpreter(), *reach.read, *_linked(reach.read)):
        words += ["--ro-bind-try", str(path), str(path)]
    for path in reach.write:
        words += ["--bind", str(path), str(path)]
    for path in reach.devices:
        words += ["--dev-bind-try", str(path), str(path)]
    # What holds the mounts together is in memory and would take files as well.
    return [*words, "--remount-ro", "/dev", "--remount-ro", "/", "--chdir", str(folder), "--", *argv]


def exit_status(code: int) -> int:
    """An exit status as the system gives it, with the signal of a process that bubblewrap ran: it says 128 + n."""
    return 128 - code if 128 < code < 128 + signal.NSIG else code


def nvidia_devices() -> tuple[Path, ...]:
    """The device files of this machine's GPUs."""
    return tuple(sorted(Path("/dev").glob("nvidia*")))


def _system() -> list[str]:
    words = []
    for name in SYSTEM:
        path = Path(name)
        if path.is_symlink():
            words += ["--symlink", str(path.readlink()), name]
        elif path.exists():
            words += ["--ro-bind", name, name]
    for name in ETC:
        words += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    return words


@functools.cache
def _interpreter() -> tuple[Path, ...]:
    """Where this Python and its packages lie, as far as that is not under /usr."""
    named = {sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix}
    real = {str(Path(name).resolve()) for name in (*named, str(Path(sys.executable).resolve().parent.parent))}
    libraries = {word for word in os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep) if word.startswith("/")}
    found = sorted(named | real | libraries)
    return tuple(Path(name) for name in found if name != "/" and not name.startswith("/usr/") and name != "/usr")


def _linked(paths: Sequence[Path]) -> list[Path]:
    """What symbolic links in these folders, or these paths themselves, point to."""
    found = []
    for path in paths:
        inside = path.iterdir() if path.is_dir() else ()
        found += [one.resolve() for one in (path, *inside) if one.is_symlink()]
    return found


def _prepare() -> None:
    """Runs in the child before exec: no core dump with a customer's rows, and an end with whoever started it.

    What its children leave behind becomes its own, not the system's: while it lives, its tree is whole.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if _LIBC is not None:
        _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        _LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1)
