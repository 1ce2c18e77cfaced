"""A control API, a gateway with an engine that writes what it is told, and no batch of another test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pytest_django.live_server_helper import LiveServer

from batches.models import OPEN, Batch
from batches.worker import asking, watch
from tenants.scope import ops_scope
from tests import doorbells
from tests.gateway.writing_engine import Wired, wired


@pytest.fixture(scope="package")
def server(django_db_setup: None) -> Iterator[LiveServer]:
    """The product's DRF views behind a real socket."""
    live = LiveServer("127.0.0.1")
    yield live
    live.stop()


@pytest.fixture(scope="package")
def writing(django_db_setup: None) -> Iterator[Wired]:
    """The gateway on a server in this process, with an engine that writes what tests tell it to."""
    with wired() as running:
        yield running


@pytest.fixture
def worker(writing: Wired, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test's own worker needs: the way to the gateway, nothing else to do, and no long times between two looks:
    most tests here wait for what it stores."""
    monkeypatch.setattr(asking, "STORE_SECONDS", 0.2)
    monkeypatch.setattr(watch, "LOOK_SECONDS", 0.2)
    settings.GATEWAY_URL = writing.url
    watch.draining.clear()
    doorbells.forget("batch")
    with ops_scope("leave no batch of another test"):
        Batch.ops.filter(state__in=OPEN).update(state=Batch.State.CANCELLED)
