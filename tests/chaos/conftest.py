"""One fleet for all faults, healed and held against its rules after each."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings

from tests.chaos.fleet import Fleet
from tests.chaos.installation import Installation
from tests.chaos.invariants import check_quiet

SEED = int(os.environ.get("CHAOS_SEED", "20260"))


def pytest_report_header() -> str:
    """Which dice were thrown."""
    return f"chaos seed: {SEED} (CHAOS_SEED)"


@pytest.fixture(scope="session")
def engines_to_hurt(django_db_setup: None) -> Iterator[Installation]:
    """This run's PostgreSQL and Redis, of a kind that keeps what it promised."""
    made = Installation(Path(settings.HOME))
    yield made
    made.leave()


@pytest.fixture(scope="session")
def _fleet(engines_to_hurt: Installation) -> Iterator[Fleet]:
    made = Fleet.open(engines_to_hurt, hosts=3, people=5, seed=SEED)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def fleet(_fleet: Fleet, request: pytest.FixtureRequest) -> Iterator[Fleet]:
    """A healthy fleet without work; afterwards it is healed, drained and held against its rules."""
    _fleet.heal()
    _fleet.jobs.clear()
    _fleet.answers.clear()
    _fleet.dice.seed(f"{SEED} {request.node.name}")
    yield _fleet
    began = time.monotonic()
    check_quiet(_fleet)
    _fleet.drained.append(time.monotonic() - began)
