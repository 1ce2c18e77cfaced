"""Ada, a member of staff with an authenticator app and an open staff session."""

import time

import pytest
from allauth.account.internal.flows.login import (
    _AUTHENTICATION_METHODS_USER_SESSION_KEY,
    AUTHENTICATION_METHODS_SESSION_KEY,
)
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.core.management import call_command

from ops import door
from tests.conftest import Person, make_person


def proved(person: Person, *, ago: float = 0, kind: str = "totp") -> None:
    """Write into the account's session what allauth writes when a second factor was shown (seconds ago)."""
    session = person.browser.session
    session[AUTHENTICATION_METHODS_SESSION_KEY] = [{"method": "mfa", "at": time.time() - ago, "type": kind}]
    session[_AUTHENTICATION_METHODS_USER_SESSION_KEY] = str(person.user.pk)
    session.save()


def aged(person: Person, **seconds: float) -> None:
    """Make moments of the staff session older: `entered=`, `proved=`."""
    session = door.StaffSession(person.browser.cookies[door.COOKIE].value)
    for name, key in (("entered", door.ENTERED), ("proved", door.PROVED)):
        session[key] = time.time() - seconds.get(name, 0)
    session.save()


def make_staff(name: str = "staff") -> Person:
    """Somebody of staff with an authenticator app, outside the staff's door."""
    person = make_person(name)
    call_command("make_staff", "--email", person.user.email, "--reason", "tests")
    TOTP.activate(person.user, generate_totp_secret())
    return person


def inside(person: Person) -> Person:
    """The same, with an open staff session."""
    proved(person)
    assert person.browser.get("/staff/login/").status_code == 302
    return person


@pytest.fixture
def ada() -> Person:
    """Inside."""
    return inside(make_staff())
