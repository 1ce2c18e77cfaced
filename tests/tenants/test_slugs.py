"""Organisations of one name have addresses of their own."""

import itertools
import secrets

import pytest

from kit.errors import Conflict
from tenants.services.organisations import DRAWS, tenant_create
from tests.conftest import make_user


def test_a_slug_that_somebody_has_is_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    ada = make_user("ada")
    taken, other = secrets.token_hex(4), secrets.token_hex(4)
    drawn = iter([taken, taken, other])
    monkeypatch.setattr(secrets, "token_hex", lambda _size: next(drawn))
    one, two = (tenant_create(name="Twins", owner=ada).tenant for _ in range(2))
    assert (one.slug, two.slug) == (f"twins-{taken}", f"twins-{other}")


def test_where_every_draw_is_taken_nothing_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    ada = make_user("ada")
    tail = secrets.token_hex(4)
    asked = itertools.count()
    monkeypatch.setattr(secrets, "token_hex", lambda _size: tail if next(asked) >= 0 else "")
    tenant_create(name="Twins", owner=ada)
    with pytest.raises(Conflict, match="Try again"):
        tenant_create(name="Twins", owner=ada)
    assert next(asked) == 1 + DRAWS
