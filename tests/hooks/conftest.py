"""A receiver for each test, and a house with nothing left to deliver."""

from collections.abc import Iterator

import pytest

import config.celery  # noqa: F401 - doorbells ring somewhere
from hooks.delivery import RUNS
from kit import redis
from tests.hooks.receiver import Receiver, nothing_waits, serve


@pytest.fixture(autouse=True)
def _quiet_house() -> None:
    """Before each test."""
    nothing_waits()
    redis.client().delete(*(f"hooks:run:{number}" for number in range(RUNS)))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A server that answers 204 unless told otherwise."""
    made = Receiver()
    server = serve(made)
    yield made
    server.shutdown()
    server.server_close()
