"""Processes load without the collector, and have it again when they work."""

import os
import subprocess
import sys

import pytest
from django.conf import settings

pytestmark = pytest.mark.slow  # starts real processes
AT_THE_END = "import atexit, gc; atexit.register(lambda: print(gc.isenabled(), gc.get_freeze_count() > 100_000)); "
DOORS = {
    "web": "import config.asgi",
    "gateway": "import gateway.asgi",
    "worker": "import sys; sys.argv[1:] = ['report']; from config.background import main; main()",
    "command": "import runpy, sys; sys.argv[:] = ['', 'version']; runpy.run_path('manage.py', None, '__main__')",
}


@pytest.mark.parametrize("door", DOORS)
def test_whatever_started_collects_again_but_not_what_it_loaded(door: str) -> None:
    roots = os.pathsep.join([str(settings.ROOT), str(settings.ROOT / "platform")])
    done = subprocess.run(
        [sys.executable, "-c", AT_THE_END + DOORS[door]],
        cwd=settings.ROOT,
        env=os.environ | {"PYTHONPATH": roots, "DJANGO_SETTINGS_MODULE": "tests.settings"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "True True"
