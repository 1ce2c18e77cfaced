"""Who the browser's visits of every page are made for."""

from typing import Any

import pytest

from tests.conftest import Person, make_person
from tests.console.places import PLACES


@pytest.fixture(scope="session")
def owner() -> Person:
    """Somebody with one of everything."""
    person = make_person("ada")
    for place in PLACES:
        place.prepare(person)
    return person


@pytest.fixture
def style_guide(settings: Any) -> None:
    """The style guide exists in development only."""
    settings.DEBUG = True
