"""An emulator whose clock a test may move."""

from collections.abc import Iterator

import pytest

from tests.billing.emulated import Emulator


@pytest.fixture(scope="module")
def clockwork(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """One of its own for a module: its clock moves, its cards fail on request."""
    running = Emulator(tmp_path_factory.mktemp("clockwork"))
    yield running
    running.stop()
