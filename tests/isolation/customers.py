"""Support threads on the console's pages."""

from tests.conftest import Person
from tests.isolation.routes import Ids, Policy

PAGES = "o/<slug:org>/support/"
PAGE = f"{PAGES}<str:thread>/"


def _thread(person: Person) -> Ids:
    from tests.customers.asking import asked

    return {"thread": asked(person).public_id}


def _file(person: Person) -> Ids:
    from tests.customers.asking import asked_with_file

    thread, file = asked_with_file(person)
    return {"thread": thread.public_id, "file": file.public_id}


def _announced(person: Person) -> Ids:
    """Something for this organisation alone."""
    from customers.services.announcements import announcement_make
    from customers.services.notes import tag_add
    from tenants.scope import ops_scope

    tag = f"only-{person.tenant.pk.hex[-10:]}"
    with ops_scope("test"):
        tag_add(tenant_id=person.tenant.pk, name=tag, by="t")
        return {"news": announcement_make(title="Maintenance on Sunday", tags=[tag], by="t").pk}


POLICIES: dict[str, Policy] = {
    "mail/unsubscribe/<str:token>": Policy("public", success={}),  # its parameter is a signature; tested there
    "o/<slug:org>/news/<uuid:news>/dismiss": Policy("page", make=_announced, success={"POST": 302}),
    "o/<slug:org>/satisfaction": Policy("page", success={"POST": 422}),
    PAGES: Policy("page", success={"GET": 200}),
    f"{PAGES}new": Policy(
        "page", success={"GET": 200, "POST": 302}, bodies={"POST": lambda ids: {"subject": "Help", "text": "Please"}}
    ),
    PAGE: Policy("page", make=_thread, success={"GET": 200}),
    f"{PAGE}reply": Policy(
        "page", make=_thread, success={"GET": 302, "POST": 302}, bodies={"POST": lambda ids: {"text": "And this"}}
    ),
    f"{PAGE}solve": Policy("page", make=_thread, success={"POST": 302}),
    f"{PAGE}files/<str:file>": Policy("page", make=_file, success={"GET": 200}),
}
