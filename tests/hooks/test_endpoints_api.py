"""Managing endpoints with the official client, and what it must not let pass."""

from typing import Any

import httpx2
import openai
import pytest
from django.core.wsgi import get_wsgi_application

from hooks.catalogue import EVENT_TYPES
from hooks.models import Delivery, Endpoint
from hooks.services import MOST_ENDPOINTS
from kit.ids import new_id, public_id
from tenants.models import AuditEvent
from tenants.scope import tenant_scope
from tenants.services.keys import key_create
from tests.conftest import Api, Cast, Person, make_person
from tests.hooks.receiver import FAILED, SUCCEEDED, Receiver, change, happen, log, row_of, subscribe

URL = "http://localhost:9/hook"


def client_of(person: Person) -> openai.OpenAI:
    """The official client, its requests handed to the application."""
    transport = httpx2.WSGITransport(app=get_wsgi_application())
    return openai.OpenAI(
        api_key=person.key,
        base_url="http://testserver/v1",
        http_client=httpx2.Client(transport=transport),
        max_retries=0,
    )


def test_the_official_client_manages_an_endpoint_from_its_making_to_its_end(cast: Cast, receiver: Receiver) -> None:
    client = client_of(cast.owner)
    made = client.webhooks.create(name="bot", url=receiver.url, event_types=[FAILED, SUCCEEDED])
    assert made.signing_secret.startswith("whsec_") and len(made.signing_secret) == 6 + 44
    assert made.object == "webhook_endpoint" and made.id.startswith("we_")
    assert sorted(made.event_types) == sorted([FAILED, SUCCEEDED])
    found = client.webhooks.retrieve(made.id)
    assert found.signing_secret_hint == f"whsec_…{made.signing_secret[-5:]}"
    assert not hasattr(found, "signing_secret")
    changed = client.webhooks.update(made.id, name="renamed", event_types=[SUCCEEDED])
    assert (changed.name, changed.url, changed.event_types) == ("renamed", receiver.url, [SUCCEEDED])
    tested = client.webhooks.test(made.id, event_type=SUCCEEDED)
    assert (tested.object, tested.status_code, tested.success) == ("webhook_endpoint.test", 204, True)
    assert (tested.event_type, tested.webhook_endpoint_id) == (SUCCEEDED, made.id)
    sample = client.webhooks.unwrap(receiver.taken[0].body, receiver.taken[0].headers, secret=made.signing_secret)
    assert sample.type == SUCCEEDED and sample.data.id == "ftjob-" + "0" * 26
    rotated = client.webhooks.rotate_secret(made.id, keep_old_secret_active_for_24_hours=True)
    assert rotated.signing_secret != made.signing_secret
    assert client.webhooks.event_types.list().data == list(EVENT_TYPES)
    second = client.webhooks.create(name="second", url=receiver.url, event_types=[FAILED])
    assert [one.id for one in client.webhooks.list(limit=1)] == [second.id, made.id]
    gone = client.webhooks.delete(made.id)
    assert (gone.id, gone.deleted, gone.object) == (made.id, True, "webhook_endpoint.deleted")
    with pytest.raises(openai.NotFoundError):
        client.webhooks.retrieve(made.id)


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"name": ""}, "name"),
        ({"name": 3}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": "a\u0007b"}, "name"),
        ({"url": "http://hooks.example.com/"}, "url"),
        ({"url": "https://10.0.0.1/"}, "url"),
        ({"url": None}, "url"),
        ({"url": "https://" + "a" * 2000}, "url"),
        ({"event_types": []}, "event_types"),
        ({"event_types": "all"}, "event_types"),
        ({"event_types": ["response.completed"]}, "event_types"),
        ({"event_types": [FAILED, 3]}, "event_types[1]"),
        ({"event_types": [FAILED] * 101}, "event_types"),
        ({"tenant_id": "x"}, "tenant_id"),
        ({"secret": "whsec_"}, "secret"),
        ({"x_state": "enabled"}, "x_state"),
    ],
)
def test_a_wrong_or_unknown_field_is_a_400_that_names_it_and_makes_nothing(
    cast: Cast, changes: dict[str, Any], param: str
) -> None:
    body = {"name": "bot", "url": URL, "event_types": [FAILED]} | changes
    answer = cast.owner.api.post("/v1/webhook_endpoints", body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), answer.content
    assert cast.owner.api.get("/v1/webhook_endpoints").json()["data"] == []


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("", {"state": "enabled"}, "state"),
        ("", {"x_state": "paused"}, "x_state"),
        ("", {"url": "gopher://hooks.example.com/"}, "url"),
        ("/rotate_secret", {"keep_old_secret_active_for_24_hours": "yes"}, "keep_old_secret_active_for_24_hours"),
        ("/rotate_secret", {"keep": True}, "keep"),
        ("/test", {}, "event_type"),
        ("/test", {"event_type": "nothing.known"}, "event_type"),
        ("/test", {"event_type": FAILED, "data": {}}, "data"),
    ],
)
def test_a_wrong_change_is_a_400_and_changes_nothing(cast: Cast, path: str, body: dict[str, Any], param: str) -> None:
    made = subscribe(cast.owner, URL)
    before = row_of(cast.owner, made).__dict__ | {"_state": None}
    answer = cast.owner.api.post(f"/v1/webhook_endpoints/{made['id']}{path}", body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), answer.content
    assert row_of(cast.owner, made).__dict__ | {"_state": None} == before


def test_a_foreign_endpoint_or_delivery_is_the_404_of_an_unknown_one(cast: Cast, receiver: Receiver) -> None:
    mine, other = subscribe(cast.owner, receiver.url), subscribe(cast.owner, receiver.url)
    happen(cast.owner)
    delivery = log(cast.owner, mine)[0]["id"]
    path = f"/v1/webhook_endpoints/{mine['id']}"
    for api, wrong in (
        (cast.stranger.api, path),
        (cast.owner.api, f"/v1/webhook_endpoints/{public_id('we_', new_id())}"),
    ):
        for method, tail in (
            ("get", ""), ("post", ""), ("delete", ""), ("post", "/rotate_secret"), ("post", "/test"),
            ("get", "/deliveries"), ("post", f"/deliveries/{delivery}/replay"),
        ):  # fmt: skip
            answer = api.request(method, wrong + tail, {} if method == "post" else None)
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
    crossed = cast.owner.api.post(f"/v1/webhook_endpoints/{other['id']}/deliveries/{delivery}/replay")
    assert crossed.status_code == 404, "a delivery is found under its own endpoint alone"
    assert receiver.taken == []


def test_a_project_has_room_for_so_many(cast: Cast) -> None:
    for number in range(MOST_ENDPOINTS):
        subscribe(cast.owner, URL, name=f"bot {number}")
    answer = cast.owner.api.post("/v1/webhook_endpoints", {"name": "x", "url": URL, "event_types": [FAILED]})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "webhook_endpoint_limit_exceeded")


def test_a_repeated_create_is_one_endpoint_and_answers_its_secret_which_is_kept_sealed(cast: Cast) -> None:
    from tenants.models.idempotency import IdempotentRequest

    body = {"name": "bot", "url": URL, "event_types": [FAILED]}
    first, second = (
        cast.owner.api.post("/v1/webhook_endpoints", body, Idempotency_Key="once").json() for _ in range(2)
    )
    assert first == second and first["signing_secret"].startswith("whsec_")
    with tenant_scope(cast.owner.tenant.id):
        assert Endpoint.objects.count() == 1
        assert "signing_secret" not in IdempotentRequest.objects.get(key="once").answer


def test_scopes_hold(cast: Cast) -> None:
    made = subscribe(cast.owner, URL)
    with tenant_scope(cast.owner.tenant.id):
        _, reads = key_create(project=cast.owner.project, name="reads", scopes=["webhooks.read"])
        _, none = key_create(project=cast.owner.project, name="none", scopes=["jobs.read"])
    assert Api(reads).get(f"/v1/webhook_endpoints/{made['id']}").status_code == 200
    assert Api(reads).post(f"/v1/webhook_endpoints/{made['id']}", {"name": "x"}).status_code == 403
    assert Api(reads).post(f"/v1/webhook_endpoints/{made['id']}/test", {"event_type": FAILED}).status_code == 403
    assert Api(none).get("/v1/webhook_endpoints").status_code == 403


def test_every_change_is_in_the_audit_log_and_no_secret_is(cast: Cast, receiver: Receiver) -> None:
    made = subscribe(cast.owner, receiver.url)
    path, api = f"/v1/webhook_endpoints/{made['id']}", cast.owner.api
    rotated = api.post(f"{path}/rotate_secret").json()
    api.post(path, {"name": "renamed"})
    api.post(path, {"name": "renamed"})
    happen(cast.owner)
    api.post(f"{path}/deliveries/{log(cast.owner, made)[0]['id']}/replay")
    for state in ("disabled", "disabled", "enabled"):
        api.post(path, {"x_state": state})
    api.delete(path)
    with tenant_scope(cast.owner.tenant.id):
        events = list(AuditEvent.objects.filter(action__startswith="webhook_").order_by("at", "pk"))
    assert [event.action for event in events] == [
        "webhook_endpoint.created",
        "webhook_endpoint.rotated",
        "webhook_endpoint.changed",
        "webhook_delivery.replayed",
        "webhook_endpoint.disabled",
        "webhook_endpoint.enabled",
        "webhook_endpoint.deleted",
    ]
    assert {event.actor_kind for event in events} == {"key"}
    said = str([(event.before, event.after, event.reason) for event in events])
    assert made["signing_secret"] not in said and rotated["signing_secret"] not in said


def test_a_test_without_an_answer_is_a_422_with_the_reason_and_tests_come_seconds_apart(cast: Cast) -> None:
    made = subscribe(cast.owner, URL)
    path = f"/v1/webhook_endpoints/{made['id']}/test"
    answer = cast.owner.api.post(path, {"event_type": FAILED})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "webhook_endpoint_unreachable")
    assert "The connection was refused." in answer.json()["error"]["message"]
    again = cast.owner.api.post(path, {"event_type": FAILED})
    assert (again.status_code, again["Retry-After"]) == (429, "5")


def test_a_test_tells_a_bad_status_and_leaves_no_line_in_the_log(cast: Cast, receiver: Receiver) -> None:
    receiver.says(500)
    made = subscribe(cast.owner, receiver.url)
    cast.owner.api.post(f"/v1/webhook_endpoints/{made['id']}", {"x_state": "disabled"})
    answer = cast.owner.api.post(f"/v1/webhook_endpoints/{made['id']}/test", {"event_type": FAILED})
    assert (answer.status_code, answer.json()["status_code"], answer.json()["success"]) == (200, 500, True)
    assert log(cast.owner, made) == []


def test_what_waits_when_an_endpoint_is_disabled_is_failed_and_goes_to_a_new_url_otherwise(
    cast: Cast, receiver: Receiver
) -> None:
    made = subscribe(cast.owner, URL)
    path = f"/v1/webhook_endpoints/{made['id']}"
    happen(cast.owner)
    cast.owner.api.post(path, {"x_state": "disabled"})
    (seen,) = log(cast.owner, made)
    assert (seen["state"], seen["tries"]) == ("failed", [])
    cast.owner.api.post(path, {"x_state": "enabled"})
    happen(cast.owner)
    change(cast.owner, made, timeouts=4, failures=4)
    cast.owner.api.post(path, {"url": receiver.url})
    assert row_of(cast.owner, made).timeouts == 0
    from hooks.delivery import deliver_due

    assert deliver_due() == 1 and len(receiver.taken) == 1


def test_the_log_is_paged_newest_first(cast: Cast, receiver: Receiver) -> None:
    made = subscribe(cast.owner, receiver.url)
    events = [happen(cast.owner) for _ in range(5)]
    path = f"/v1/webhook_endpoints/{made['id']}/deliveries"
    first = cast.owner.api.get(f"{path}?limit=3").json()
    rest = cast.owner.api.get(f"{path}?limit=3&after={first['last_id']}").json()
    assert [one["event"]["id"] for one in first["data"] + rest["data"]] == events[::-1]
    assert (first["has_more"], rest["has_more"]) == (True, False)
    assert cast.owner.api.get(f"{path}?state=failed").status_code == 400
    other = make_person("other")
    foreign = subscribe(other, receiver.url)
    taken = other.api.get(f"/v1/webhook_endpoints/{foreign['id']}/deliveries?after={first['last_id']}")
    assert taken.status_code == 400


def test_a_closed_organisation_leaves_nothing_behind(cast: Cast, receiver: Receiver) -> None:
    from tenants.services.erasing import tenant_erase
    from tenants.services.organisations import tenant_set_status

    subscribe(cast.owner, receiver.url)
    happen(cast.owner)
    with tenant_scope(cast.owner.tenant.id):
        tenant_set_status(tenant=cast.owner.tenant, status="closed", reason="tests")
    assert tenant_erase(tenant_id=cast.owner.tenant.id)
    with tenant_scope(cast.owner.tenant.id):
        assert (Endpoint.objects.count(), Delivery.objects.count()) == (0, 0)
