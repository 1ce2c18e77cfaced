"""One machine: its worker, its lines to PostgreSQL and Redis, and the processes that stand in its folders."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

from django.conf import settings

from config import embedded
from kit.clock import now
from tests.chaos.proxy import NONE, Proxy

LEASE, HEARTBEAT, GRACE, BRAKE = 3, 1, 1, 5
SECONDS = {
    "TRAINING_LEASE_SECONDS": LEASE,
    "TRAINING_HEARTBEAT_SECONDS": HEARTBEAT,
    "TRAINING_LEASE_GRACE_SECONDS": GRACE,
    "TRAINING_RESTART_BRAKE_SECONDS": BRAKE,
    "TRAINING_RETRY_SECONDS": 1,
}


class Host:
    """One machine with a `train` worker, as far as the ledger can tell; `run` starts something else on it."""

    def __init__(self, home: Path, name: str, *, seed: int) -> None:
        self.name, self.home = name, home
        self.doors = embedded.run_dir(self.home) / name
        sockets = embedded.run_dir(self.home)
        self.postgres = Proxy(str(self.doors / ".s.PGSQL.5432"), str(sockets / "pg" / ".s.PGSQL.5432"), seed=seed)
        self.redis = Proxy(str(self.doors / "redis.sock"), str(sockets / "redis.sock"), seed=seed)
        self.work = self.home / "work" / name
        self.log = self.home / "chaos" / f"{name}.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.changed: dict[str, str] = {}
        self.started = now()

    def environment(self) -> dict[str, str]:
        """What its worker is told: the doors are the proxies'."""
        urls = {
            name: f"postgresql://{embedded.ROLES[alias]}@/{embedded.DATABASE}?host={self.doors}"
            for name, alias in (
                ("DATABASE_URL", "default"),
                ("OPS_DATABASE_URL", "ops"),
                ("OWNER_DATABASE_URL", "owner"),
            )
        }
        return {
            **os.environ,
            **urls,
            **{name: str(seconds) for name, seconds in SECONDS.items()},
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "PYTHONPATH": f"{settings.ROOT}{os.pathsep}{settings.ROOT / 'platform'}",
            "REDIS_URL": f"unix://{self.doors / 'redis.sock'}?db=0",
            "TRAINING_HOST": self.name,
            "TRAINING_SLOTS": "2",  # a worker has one process at a time: the second is for a job that shares it
            "TRAINING_THREADS": "1",
            "WORK_DIR": str(self.work),
            "WORKER_QUEUE": "train",
        } | self.changed

    def start(self, *, pool: tuple[str, ...] = ("--pool", "solo"), **changed: str) -> None:
        """A worker here. `changed` are further words of its environment, until it is started again without."""
        command = ["celery", "--app", "tests.chaos.worker", "--quiet", "worker", *pool, "--loglevel", "WARNING"]
        command += ["--queues", "train", "--hostname", f"{self.name}@%h", "--without-gossip", "--without-mingle"]
        self.run(*command, **changed)

    def run(self, module: str, *words: str, **changed: str) -> None:
        """A Python module in a process of its own here."""
        self.changed, self.started = changed, now()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, *words],
                env=self.environment(),
                cwd=settings.ROOT,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Of the worker's first process."""
        return self.process.pid if self.process is not None else 0

    @property
    def runs(self) -> bool:
        """Whether there is a worker here."""
        return self.process is not None and self.process.poll() is None

    def signal(self, number: int, *, group: bool = False) -> None:
        """To the worker, or to it and its children (a trainer has a group of its own)."""
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self.pid, number)

    def kill(self) -> None:
        """As when the machine loses its power: all of the worker's own processes, at once."""
        self.signal(signal.SIGKILL, group=True)
        self.wait()

    def wait(self, seconds: float = 30.0) -> int:
        """Until it has ended; its exit status."""
        return self.process.wait(seconds) if self.process is not None else 0

    def heal(self) -> None:
        """No fault on its lines, and a worker of the usual kind."""
        for proxy in (self.postgres, self.redis):
            if proxy.fault is not NONE:
                proxy.fault = NONE
        self.signal(signal.SIGCONT, group=True)
        if self.runs and self.changed:
            self.kill()
        if not self.runs:
            self.start()

    def leave(self) -> None:
        """Stop and close."""
        self.signal(signal.SIGCONT, group=True)
        self.kill()
        self.postgres.close()
        self.redis.close()

    def last_words(self) -> str:
        """The end of its log."""
        with contextlib.suppress(OSError):
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-25:])
        return ""


def processes_in(folder: Path, *, words: bytes = b"") -> dict[int, bytes]:
    """Processes that stand in a folder or below it: trainers, and what they left behind."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            where = os.readlink(entry / "cwd").removesuffix(" (deleted)")
            line = (entry / "cmdline").read_bytes()
            if Path(where).is_relative_to(folder) and line and words in line:
                found[int(entry.name)] = line
    return found


def gone(pid: int) -> bool:
    """Whether a process has ended, though its parent may not have looked yet."""
    try:
        return not Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return True
