"""An engine of its own process, for tests that want the real one."""

from __future__ import annotations

import subprocess

from django.conf import settings

from inference.client import BlockingClient
from inference.errors import Unavailable
from tests.training.background import until


def until_ready(process: subprocess.Popen[bytes], address: str, *, seconds: float) -> None:
    """Wait until it answers; fails at once when it ends before."""

    def answers() -> bool:
        assert process.poll() is None, "the engine ended before it was ready"
        try:
            with BlockingClient(address, settings.ENGINE_TOKEN) as client:
                return bool(client.health())
        except Unavailable:
            return False

    until(answers, seconds=seconds)
