"""Webhook endpoints and their deliveries, over the API and on their pages."""

import functools

from tenants.scope import tenant_scope
from tests.conftest import Person
from tests.isolation.routes import Ids, Policy

URL = "http://localhost:9/hook"
"""Nobody listens there."""
TYPE = "fine_tuning.job.failed"


@functools.cache
def _listening() -> str:
    """A URL that answers, for as long as the tests run."""
    from tests.hooks.receiver import Receiver, serve

    receiver = Receiver()
    serve(receiver)
    return receiver.url


def _made(person: Person, url: str) -> tuple[object, Ids]:
    from hooks.models import Endpoint
    from hooks.services import endpoint_create

    with tenant_scope(person.tenant.id):
        Endpoint.objects.all().delete()  # many tries, and a project has room for so many
        row, _ = endpoint_create(project=person.project, name="bot", url=url, event_types=[TYPE])
    return row, {"webhook_endpoint": row.public_id, "endpoint": row.public_id}


def _endpoint(person: Person) -> Ids:
    return _made(person, URL)[1]


def _answering(person: Person) -> Ids:
    return _made(person, _listening())[1]


def _delivery(person: Person) -> Ids:
    from hooks.models import Delivery
    from hooks.services import event_publish

    row, ids = _made(person, URL)
    with tenant_scope(person.tenant.id):
        event_publish(project_id=person.project.id, type=TYPE, data={"id": "ftjob-1"})
        return ids | {"delivery": Delivery.objects.get(endpoint=row).public_id}


def _only(make: object, *names: str) -> object:
    """Just the parameters that a route names: what its twin makes of others is nobody's."""

    def made(person: Person) -> Ids:
        ids = make(person)  # type: ignore[operator]
        return {name: ids[name] for name in names}

    return made


def _policy(door: str, make: object, success: dict[str, int], *names: str, **body: object) -> Policy:
    bodies = {"POST": lambda ids: body} if body else {}
    return Policy(door, success=success, make=_only(make, *names), bodies=bodies)  # type: ignore[arg-type]


API = "v1/webhook_endpoints"
ONE = f"{API}/<str:webhook_endpoint>"
PAGES = "o/<slug:org>/p/<slug:project>/webhooks/"
PAGE = f"{PAGES}<str:endpoint>/"
FORM = {"name": "new", "url": URL, "event_types": [TYPE]}
E, D = "webhook_endpoint", "delivery"

POLICIES: dict[str, Policy] = {
    "v1/webhook_event_types": Policy("api", success={"GET": 200}),
    API: Policy("api", success={"GET": 200, "POST": 200}, bodies={"POST": lambda ids: FORM}),
    ONE: _policy("api", _endpoint, {"GET": 200, "POST": 200, "DELETE": 200}, E, name="renamed"),
    f"{ONE}/rotate_secret": _policy("api", _endpoint, {"POST": 200}, E),
    f"{ONE}/test": _policy("api", _answering, {"POST": 200}, E, event_type=TYPE),
    f"{ONE}/deliveries": _policy("api", _delivery, {"GET": 200}, E),
    f"{ONE}/deliveries/<str:delivery>/replay": _policy("api", _delivery, {"POST": 200}, E, D),
    PAGES: Policy("page", success={"GET": 200}),
    f"{PAGES}new": Policy(
        "page", success={"GET": 200, "POST": 200}, bodies={"POST": lambda ids: {**FORM, "once": "a"}}
    ),
    PAGE: _policy("page", _delivery, {"GET": 200}, "endpoint"),
    f"{PAGE}change": _policy("page", _endpoint, {"GET": 200, "POST": 302}, "endpoint", **FORM),
    f"{PAGE}rotate": _policy("page", _endpoint, {"GET": 200, "POST": 200}, "endpoint", keep="yes", once="b"),
    f"{PAGE}test": _policy("page", _answering, {"GET": 302, "POST": 200}, "endpoint", event_type=TYPE),
    f"{PAGE}state": _policy("page", _endpoint, {"POST": 302}, "endpoint", state="disabled"),
    f"{PAGE}delete": _policy("page", _endpoint, {"GET": 200, "POST": 302}, "endpoint"),
    f"{PAGE}deliveries/<str:delivery>/replay": _policy("page", _delivery, {"POST": 302}, "endpoint", D),
}
