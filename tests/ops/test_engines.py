"""The engines on the fleet page, and letting one leave."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ops.models import StaffAction
from serving import engines
from serving.models import Replica
from tests.conftest import Person
from tests.serving.announced import Announced, engine_announced

pytestmark = pytest.mark.slow  # starts real processes

WHY = "this machine is to be replaced"


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, django_db_setup: None) -> Iterator[tuple[Announced, Announced]]:
    folder = tmp_path_factory.mktemp("e")
    with engine_announced(folder, "a") as one, engine_announced(folder, "b") as other:
        yield one, other


def test_staff_see_the_engines_and_let_one_leave(two: tuple[Announced, Announced], ada: Person) -> None:
    engines.replicas_write_down()
    leaving = Replica.objects.get(address=two[0].address)
    page = ada.browser.get("/staff/fleet/").content.decode()
    assert all(row.name in page and row.address in page for row in Replica.objects.all())
    where = f"/staff/serving/replica/{leaving.name}/leave/"
    assert ada.browser.post(where, {"reason": ""}).status_code == 422 and two[0].process.poll() is None
    assert ada.browser.post(where, {"reason": WHY}).status_code == 302
    assert two[0].process.wait(15) == 0, "it ends in peace"
    assert StaffAction.objects.filter(action="replica.leave", target_id=leaving.name, reason=WHY).exists()
    engines.replicas_write_down()
    assert [row.address for row in Replica.objects.all()] == [two[1].address]
    assert ada.browser.post(where, {"reason": WHY}).status_code == 404
