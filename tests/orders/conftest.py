"""Staff, an emulator, and a clean slate of rates for who opens links."""

from collections.abc import Iterator

import pytest

from kit import redis
from tests.billing.conftest import emulator, stripe_house
from tests.conftest import Person, make_person
from tests.isolation.orders import granted
from tests.ops.conftest import inside, make_staff

__all__ = ["emulator", "stripe_house"]


@pytest.fixture(scope="module")
def ada() -> Person:
    """An owner whose plan has custom models."""
    person = make_person("ada")
    granted(person)
    return person


@pytest.fixture(scope="module")
def staff() -> Person:
    """Somebody of staff, inside the staff console."""
    return inside(make_staff())


@pytest.fixture(scope="module")
def boss() -> Person:
    """Another one."""
    return inside(make_staff("boss"))


@pytest.fixture(autouse=True)
def _fresh_rates() -> Iterator[None]:
    """Nobody has opened a link yet."""
    keys = redis.client().keys("rate:quotes:*")
    if keys:
        redis.client().delete(*keys)
    yield
