"""The console's pages as the browser tests open them: a path, and what must exist first."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.conftest import Person


def _nothing(person: Person) -> None:
    """A page that needs no object."""


@dataclass(frozen=True)
class Place:
    """One page."""

    path: Callable[[Person], str]
    prepare: Callable[[Person], None] = _nothing


def project(tail: str) -> Place:
    """A page of the project."""
    return Place(lambda person: f"{person.workspace}/{tail}")


def organisation(tail: str) -> Place:
    """A page of the organisation."""
    return Place(lambda person: f"{person.home}/{tail}")


PLACES: list[Place] = [
    project(""),
    organisation("billing/"),
    project("keys"),
    project("keys/new"),
    Place(lambda person: f"{person.workspace}/keys/{person.key_row.public_id}"),
    Place(lambda person: f"{person.workspace}/keys/{person.key_row.public_id}/rotate"),
    organisation("members"),
    organisation("audit"),
    organisation("settings"),
    organisation("settings/close"),
    Place(lambda person: "/account/"),
    Place(lambda person: "/account/2fa/"),
    Place(lambda person: "/account/sessions/"),
    Place(lambda person: "/o/new"),
]
