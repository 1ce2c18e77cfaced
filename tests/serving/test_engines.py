"""More than one engine as tasks see them: where a model goes, and who is there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import RedisError

from inference.announcement import digest
from inference.errors import EngineError
from inference.fleet import Want
from kit import redis
from serving import engines, pools, services
from serving.errors import ModelCold
from serving.models import Replica
from tests.conftest import Cast
from tests.serving.announced import Announced, announced, engine_announced, until
from tests.serving.made import deployed, trained

pytestmark = pytest.mark.slow  # starts real processes


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, django_db_setup: None) -> Iterator[tuple[Announced, Announced]]:
    folder = tmp_path_factory.mktemp("e")
    with engine_announced(folder, "a") as one, engine_announced(folder, "b") as other:
        yield one, other


def test_a_deployment_is_loaded_into_one_engine_and_unloaded_from_it(
    two: tuple[Announced, Announced], cast: Cast, tmp_path: Path
) -> None:
    version, _ = trained(cast.owner, tmp_path / "artefact")
    deployment = deployed(cast.owner, version)
    assert deployment.state == "live", deployment.reason
    tenant = cast.owner.tenant.id.hex
    held = [[one.model for one in engine.health().residents] for engine in two]
    assert sorted(held) == [[], [version.id.hex]]
    holder = two[0 if held[0] else 1].address
    name = digest(tenant, version.id.hex)
    until(lambda: any(name in beat.residents for beat in announced()))
    assert engines.addresses(Want("", tenant, version.id.hex))[0] == holder, "who holds it is asked first"
    engines.unload_everywhere(tenant=tenant, model=version.id.hex)
    assert [engine.health().residents for engine in two] == [[], []]


def test_the_engines_are_written_down_for_when_redis_is_away(
    two: tuple[Announced, Announced], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert services.engines.replicas_write_down() == 2
    assert {row.address for row in Replica.objects.all()} == {engine.address for engine in two}

    def away() -> Any:
        raise RedisError("away")

    monkeypatch.setattr(engines, "announced", away)
    assert engines.replicas_write_down() == 0 and Replica.objects.count() == 2
    with engines.connected() as client:
        assert client.health().bases
    with pytest.raises(EngineError, match="No engine is there"), engines.connected(Want("unknown")):
        pass


def test_a_page_calls_the_engines_of_a_deployment_that_sleep_and_waits_for_one(
    two: tuple[Announced, Announced], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Want(pool="dep_asleep")
    monkeypatch.setattr(pools, "PAGE_SECONDS", 0.3)
    with pytest.raises(ModelCold, match="nobody called it for a while"), pools.awake(own, timeout=5):
        pass
    assert redis.client().get("pool:called:dep_asleep") == b"1", "whoever starts engines is told"
    looks = iter([[], [], [two[0].address]])  # one is started meanwhile
    monkeypatch.setattr(engines, "addresses", lambda want: next(looks, [two[0].address]))
    with pools.awake(own, timeout=5) as client:
        assert client.health().bases
