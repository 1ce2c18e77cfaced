"""A worker whose clock is hours off. Only the database's time decides."""

import subprocess
from pathlib import Path

import pytest

from tests.chaos.fleet import Fleet
from training import states

pytestmark = pytest.mark.chaos
NAMES = ("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1", "/usr/lib/faketime/libfaketime.so.1")
PACKAGES = Path("/var/cache/apt/archives")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> str:
    """libfaketime: as installed, or out of a package that lies ready."""
    for name in NAMES:
        if Path(name).exists():
            return name
    package = next(PACKAGES.glob("libfaketime_*.deb"), None)
    if package is None:
        pytest.skip("libfaketime is not installed, and no package of it lies ready")
    folder = tmp_path_factory.mktemp("faketime")
    subprocess.run(["dpkg", "-x", str(package), str(folder)], check=True)
    return str(next(folder.rglob("libfaketime.so.1")))


@pytest.mark.parametrize("hours", ["+2h", "-2h"])
def test_a_worker_whose_clock_is_two_hours_off_runs_its_jobs_as_others_do(
    fleet: Fleet, library: str, hours: str
) -> None:
    wrong = fleet.hosts[0]
    for host in fleet.hosts:
        host.kill()
    wrong.start(LD_PRELOAD=library, FAKETIME=hours, FAKETIME_DONT_FAKE_MONOTONIC="1", FAKETIME_NO_CACHE="1")
    job = fleet.submit()
    fleet.running(job, seconds=60)
    assert fleet.host_of(job) is wrong
    fleet.hosts[1].start()
    assert fleet.ended(job) == [states.SUCCEEDED]
    row = fleet.row(job)
    assert row.attempt == 1 and 0 <= (row.finished_at - row.started_at).total_seconds() < 60
