"""The migrated schema as SQL, for every other database of a test run.

To migrate an empty database takes a quarter of a minute, nearly all of it Django's, and a run of the whole suite needs
half a dozen: one for each worker, the journeys' and the chaos suite's. The first migrates and writes down what has come
of it, the others read that in a second. `tests/config/test_up.py` migrates as a user's first start does.

A parallel run begins with it while its workers read the tests (`begin`): otherwise all of them would wait for one.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import django
from django.apps import apps
from django.conf import settings
from django.core.management import call_command

from config import embedded
from config.engines import Postgres, make_roles

ROOT = Path(__file__).resolve().parents[1]


def digest() -> str:
    """Of everything that makes the schema."""
    found = hashlib.sha256()
    ours = [Path(app.path) for app in apps.get_app_configs() if "site-packages" not in app.path]
    migrations = {path for app in ours for path in app.glob("migrations/*.py")}
    for path in sorted({*migrations, ROOT / "tenants/isolation.py", ROOT / "platform/config/engines.py"}):
        found.update(path.read_bytes())
    return found.hexdigest()[:16]


def _written() -> Path:
    return ROOT / ".tunesmith" / "tests" / f"schema-{digest()}.sql"


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Of several processes that find no schema, one migrates; the others wait for what it writes."""
    path = _written().with_suffix(".lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def write_down(postgres: Postgres) -> None:
    """Keep what the migrations made of a home's database."""
    draft = _written().with_suffix(".draft")
    _run(postgres, "pg_dump", "--file", str(draft))
    draft.replace(_written())


def read_into(postgres: Postgres) -> bool:
    """Give a home's fresh database the schema; False when nobody has written it down."""
    if not _written().exists():
        return False
    _run(postgres, "psql", "--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", "--file", str(_written()))
    return True


def begin() -> None:
    """Have the schema made by a process beside this one, unless somebody has written it down."""
    if not _written().exists():
        roots = os.pathsep.join([str(ROOT), str(ROOT / "platform")])
        environment = os.environ | {"TEST_HOME": "schema", "DJANGO_SETTINGS_MODULE": "tests.settings"}
        subprocess.Popen([sys.executable, "-m", "tests.schema"], cwd=ROOT, env=environment | {"PYTHONPATH": roots})


def make() -> None:
    """Migrate a database of no other use, and write down what has come of it."""
    with one_at_a_time():
        if _written().exists():
            return
        postgres = Postgres(settings.HOME, durable=False)
        postgres.start()
        try:
            make_roles(embedded.superuser_url(postgres.home), embedded.DATABASE)
            call_command("migrate", database="owner", verbosity=0)
            write_down(postgres)
        finally:
            postgres.stop()
            sockets = embedded.run_dir(postgres.home)
            for folder in (postgres.home, sockets, Path("/var/tmp") / sockets.name):
                shutil.rmtree(folder, ignore_errors=True)


def prepare(home: Path) -> None:
    """An installation's home whose database is migrated already, and stopped."""
    postgres = Postgres(home, durable=False)
    postgres.start()
    try:
        make_roles(embedded.superuser_url(home), embedded.DATABASE)
        read_into(postgres)
    finally:
        postgres.stop()


def _run(postgres: Postgres, tool: str, *arguments: str) -> None:
    url = embedded.superuser_url(postgres.home, embedded.DATABASE)
    command = [str(postgres.binaries / "bin" / tool), "--dbname", url, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{tool} failed:\n{done.stderr}"


if __name__ == "__main__":
    django.setup()
    make()
