"""An emulator whose clock a test may move."""

import pytest

from tests.billing.emulated import of_its_own

clockwork = pytest.fixture(scope="module")(of_its_own)
