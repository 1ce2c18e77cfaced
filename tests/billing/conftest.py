"""The emulator of this run and the house pointed at it; quota servers."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.test import override_settings

from billing.quotas import QuotaStore
from billing.stripe_port import stripe_port
from tests.billing.emulated import KEY, SECRET, THIN, Emulator, of_its_own
from tests.billing.quota_server import QuotaServer, quota_server


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """One emulator for the tests that do not move its clock or break it."""
    yield from of_its_own(tmp_path_factory)


@pytest.fixture
def stripe_house(emulator: Emulator) -> Iterator[Emulator]:
    """The house's own port talks to the emulator."""
    with override_settings(STRIPE_SECRET_KEY=KEY, STRIPE_API_BASE=emulator.url, STRIPE_WEBHOOK_SECRET=SECRET):
        stripe_port.cache_clear()
        yield emulator
    stripe_port.cache_clear()


@pytest.fixture(scope="module")
def server() -> Iterator[QuotaServer]:
    """A quota server of this module's own, which may be flushed and stopped."""
    with quota_server() as running:
        yield running


@pytest.fixture
def store(server: QuotaServer) -> Iterator[QuotaStore]:
    """A store on that server, which knows of no loss."""
    made = QuotaStore(server.url)
    made.begin()
    yield made
    made.close()


@pytest.fixture
def metered(stripe_house: Emulator) -> Iterator[Emulator]:
    """An installation that tells meters."""
    with override_settings(USAGE_SINK="meter_events", STRIPE_THIN_SECRET=THIN):
        yield stripe_house


@pytest.fixture
def timed(tmp_path: Path) -> Iterator[Emulator]:
    """The same with a Stripe of its own, whose clock a test may move."""
    from billing.models import CatalogueEntry

    running = Emulator(tmp_path)
    stripe = {"STRIPE_SECRET_KEY": KEY, "STRIPE_API_BASE": running.url, "STRIPE_WEBHOOK_SECRET": SECRET}
    with override_settings(USAGE_SINK="meter_events", STRIPE_THIN_SECRET=THIN, **stripe):
        stripe_port.cache_clear()
        CatalogueEntry.objects.all().delete()
        yield running
    CatalogueEntry.objects.all().delete()
    stripe_port.cache_clear()
    running.stop()
