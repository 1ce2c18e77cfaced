"""Threads to test with."""

from typing import Any

from django.core.files.uploadedfile import SimpleUploadedFile

from customers.models import Attachment, Thread
from customers.selectors.threads import thread_by_id
from tenants.scope import tenant_scope
from tests.conftest import Person

SUBJECT = "The deployment does not answer"


def ask(person: Person, **fields: Any) -> Any:
    """Send the form of a new thread."""
    words = {"subject": SUBJECT, "text": "It answered yesterday.\nToday it says 503."}
    return person.browser.post(f"{person.home}/support/new", words | fields)


def asked(person: Person, **fields: Any) -> Thread:
    """A thread that somebody opened on the page."""
    with tenant_scope(person.tenant.pk):  # whoever tests many may have more than a customer may
        Thread.objects.update(state=Thread.State.SOLVED)
    answer = ask(person, **fields)
    assert answer.status_code == 302, answer.content.decode()[:2000]
    with tenant_scope(person.tenant.pk):
        return thread_by_id(answer.headers["Location"].rstrip("/").rsplit("/", 1)[-1])


def asked_with_file(person: Person, content: bytes = b"a,b\n1,2\n", name: str = "log.csv") -> tuple[Thread, Attachment]:
    """A thread with a file."""
    thread = asked(person, attachment=SimpleUploadedFile(name, content))
    with tenant_scope(person.tenant.pk):
        return thread, Attachment.objects.get(message__thread=thread)
