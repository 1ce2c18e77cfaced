"""The engines of this run, to be hurt: a PostgreSQL that keeps what it has committed, and a Redis."""

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import redis
from django.db import connections

from config import embedded
from config.engines import Postgres, Redis
from tests.training.background import until


class Installation:
    """Takes over the engines of a home folder. Killing them hurts nobody: the home belongs to this run alone."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.postgres, self.redis = Postgres(home), Redis(home)
        Postgres(home, durable=False).stop()  # a test's own, which may forget its last commits
        Redis(home).stop()
        connections.close_all()  # those of tests that ran before
        self.postgres.start()
        self.redis.start()

    def heal(self) -> None:
        """Both engines answer, and Redis has room."""
        for pid in (self.postmaster, self.redis_pid):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGCONT)
        self.postgres.start()
        self.redis.start()
        with self.broker() as client:
            client.config_set("maxmemory", 0)

    def leave(self) -> None:
        """Give back the engines as other tests expect them."""
        self.heal()
        self.postgres.stop()
        connections.close_all()
        Postgres(self.home, durable=False).start()

    # ── PostgreSQL ──

    @property
    def postmaster(self) -> int:
        """The server's first process; 0 when there is none."""
        with contextlib.suppress(OSError, ValueError):
            return int((self.postgres.data / "postmaster.pid").read_text().split("\n", 1)[0])
        return 0

    def postgres_stop(self) -> None:
        """At once and without a word, as `pg_ctl stop -m immediate` does it; what was committed is in the log."""
        os.kill(self.postmaster, signal.SIGQUIT)
        until(lambda: not self._is_up(), 20)

    def _is_up(self) -> bool:
        if self.postgres.process is not None:
            self.postgres.process.poll()
        return self.postmaster != 0 and Path(f"/proc/{self.postmaster}").exists()

    def postgres_start(self) -> None:
        """Until it answers again."""
        self.postgres.start()

    def sessions_end(self, *, most: int = 0) -> int:
        """Terminate sessions of the product, picked by the server's own dice; how many. 0 ends all of them."""
        words = """SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid FROM pg_stat_activity
                   WHERE datname = %s AND pid <> pg_backend_pid() ORDER BY random() LIMIT %s) them"""
        with contextlib.suppress(psycopg.OperationalError):
            with psycopg.connect(embedded.superuser_url(self.home), autocommit=True) as admin:
                row = admin.execute(words, [embedded.DATABASE, most or None]).fetchone()
                return int(row[0]) if row else 0
        return 0

    @contextlib.contextmanager
    def locked(self, statement: str) -> Iterator[None]:
        """Somebody holds what this statement locks, for as long as the block lasts."""
        with psycopg.connect(embedded.superuser_url(self.home, embedded.DATABASE)) as session:
            session.execute(statement)
            yield
            session.rollback()

    @contextlib.contextmanager
    def crowded(self) -> Iterator[int]:
        """Others have all sessions that the product's roles could have; how many."""
        url = embedded.database_url(self.home, "default")
        with contextlib.ExitStack() as sessions:
            count = 0
            with contextlib.suppress(psycopg.OperationalError):
                while True:
                    sessions.enter_context(psycopg.connect(url, autocommit=True))
                    count += 1
            yield count

    # ── Redis ──

    def broker(self) -> "redis.Redis":
        """A client of the server itself."""
        return redis.Redis.from_url(self.redis.url, socket_timeout=3)

    @property
    def redis_pid(self) -> int:
        """The server's process; 0 when it is not ours."""
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if str(self.redis.socket).encode() in (folder / "cmdline").read_bytes():
                    return int(folder.name)
        return 0

    def redis_kill(self, *, forget: bool = False) -> None:
        """kill -9, and perhaps the loss of everything it had on disk."""
        pid = self.redis_pid
        os.kill(pid, signal.SIGKILL)
        if self.redis.process is not None and self.redis.process.pid == pid:
            self.redis.process.wait(10)
        until(lambda: not Path(f"/proc/{pid}").exists(), 10)
        if forget:
            shutil.rmtree(self.redis.data, ignore_errors=True)

    def redis_start(self) -> None:
        """Until it answers again."""
        self.redis.start()


def repeat(what: object, *, every: float, seconds: float) -> None:
    """Do something again and again for a while."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        what()  # type: ignore[operator]
        time.sleep(every)
