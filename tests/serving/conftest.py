"""The engine for tests of this room."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.serving.made import engine_running


@pytest.fixture(scope="package")
def engine(engines: None) -> Iterator[None]:
    """One engine for the whole folder."""
    with engine_running():
        yield
