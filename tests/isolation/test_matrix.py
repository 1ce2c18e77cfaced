"""The generated isolation test: every route, method and door, tried with a foreign tenant's ids."""

import re
from typing import Any

import pytest

from kit.ids import new_id, public_id
from tenants.scope import tenant_scope
from tests.conftest import Person, Snapshot, make_person
from tests.isolation.policies import POLICIES
from tests.isolation.routes import Ids, Policy, fill, parameters, routes

OWN_PARAMETERS = {"org", "project"}
"""Console parameters that name the caller's own place; the stranger uses them as they stand in the owner's URL."""


def _cases(door: str) -> list[Any]:
    return [
        pytest.param(route, method, id=f"{method} {route}")
        for route, policy in sorted(POLICIES.items())
        for method in policy.success
        if policy.door == door
    ]


@pytest.fixture(scope="module")
def people() -> tuple[Person, Person]:
    """The owner of everything, and a stranger with an organisation of their own."""
    return make_person("owner"), make_person("stranger")


def test_the_snapshot_sees_a_changed_row(people: tuple[Person, Person], snapshot: Snapshot) -> None:
    owner, stranger = people
    before, apart = snapshot(owner), snapshot(stranger)
    assert len(before) == len(set(before)) > 20
    with tenant_scope(owner.tenant.id):
        owner.key_row.name = "renamed"
        owner.key_row.save(update_fields=["name"])
    assert {table for table, rows in snapshot(owner).items() if before[table] != rows} == {"tenants_apikey"}
    assert snapshot(stranger) == apart


def test_every_route_has_a_policy_and_every_policy_a_route() -> None:
    assert sorted(set(routes()) - set(POLICIES)) == [], "these routes need an entry in tests/isolation/policies.py"
    assert sorted(set(POLICIES) - set(routes())) == [], "these entries have no route any more"


@pytest.mark.parametrize(("route", "method"), _cases("api"))
def test_a_foreign_key_finds_nothing_and_changes_nothing(
    route: str, method: str, people: tuple[Person, Person], snapshot: Snapshot
) -> None:
    owner, stranger = people
    policy = POLICIES[route]
    ids = policy.make(owner)
    before = snapshot(owner)
    foreign = ask(policy, stranger, method, route, ids)
    if ids:
        strange = random_twin(ids)
        unknown = ask(policy, stranger, method, route, strange)
        assert foreign.status_code == policy.hidden.get(method, 404), body_of(foreign)
        assert (unknown.status_code, without(body_of(unknown), strange)) == (
            foreign.status_code,
            without(body_of(foreign), ids),
        )
    else:
        for needle in (str(owner.tenant.id), owner.tenant.slug, owner.project.public_id):
            assert needle not in body_of(foreign)
    assert snapshot(owner) == before
    own = ask(policy, owner, method, route, ids)
    assert own.status_code == policy.success[method], body_of(own)


@pytest.mark.parametrize(("route", "method"), _cases("api"))
def test_no_key_and_a_revoked_key_are_refused(route: str, method: str, people: tuple[Person, Person]) -> None:
    from tests.conftest import Api

    ids = dict.fromkeys(parameters(route), "0")
    for key in (None, "ts_live_wrong"):
        answer = Api(key).request(method, fill(route, ids), {} if method in {"POST", "PUT", "PATCH"} else None)
        assert answer.status_code == 401, body_of(answer)


@pytest.mark.slow  # every page; `make quick` has the API's half
@pytest.mark.parametrize(("route", "method"), _cases("page"))
def test_a_foreign_member_gets_the_same_404_as_for_an_unknown_page(
    route: str, method: str, people: tuple[Person, Person], snapshot: Snapshot
) -> None:
    owner, stranger = people
    policy = POLICIES[route]
    ids = {"org": owner.tenant.slug, "project": owner.project.slug, **policy.make(owner)}
    named = {name: ids[name] for name in parameters(route)}
    before = snapshot(owner)
    if "org" in named:
        foreign = browse(policy, stranger, method, route, ids)
        assert foreign.status_code == 404
        at_home = {**ids, "org": stranger.tenant.slug, "project": stranger.project.slug}
        objects = {name: value for name, value in named.items() if name not in OWN_PARAMETERS}
        if objects:
            smuggled = browse(policy, stranger, method, route, at_home)
            unknown = browse(policy, stranger, method, route, {**at_home, **random_twin(objects)})
            assert (smuggled.status_code, unknown.status_code) == (404, 404)
    assert snapshot(owner) == before
    own = browse(policy, owner, method, route, ids)
    assert own.status_code == policy.success[method], body_of(own)[:2000]


@pytest.mark.parametrize(("route", "method"), _cases("public"))
def test_a_public_page_needs_nobody(route: str, method: str) -> None:
    from tests.conftest import Api

    assert Api(None).request(method, fill(route, {})).status_code == POLICIES[route].success[method]


def ask(policy: Policy, person: Person, method: str, route: str, ids: Ids) -> Any:
    """One API request."""
    body = (
        policy.bodies[method](ids) if method in policy.bodies else ({} if method in {"POST", "PUT", "PATCH"} else None)
    )
    if policy.form and method == "POST":
        return person.api.upload(fill(route, ids), body)
    return person.api.request(method, fill(route, ids), body)


def browse(policy: Policy, person: Person, method: str, route: str, ids: Ids) -> Any:
    """One console request."""
    body = policy.bodies[method](ids) if method in policy.bodies else {}
    return getattr(person.browser, method.lower())(fill(route, ids), body)


def random_twin(ids: Ids) -> Ids:
    """Ids of the same form that nobody has."""
    twin = {}
    for name, value in ids.items():
        text = str(value)
        prefix = text[:-26] if len(text) > 26 else ""
        twin[name] = public_id(prefix, new_id()) if prefix else str(new_id())
    return twin


def body_of(response: Any) -> str:
    """The answer's text."""
    if getattr(response, "streaming", False):
        return b"".join(response.streaming_content).decode(errors="replace")
    return str(response.content.decode(errors="replace"))


def without(text: str, ids: Ids) -> str:
    """The text without the ids it repeats and the seconds it names: two answers may stand in two of them."""
    text = re.sub(r'("\w+_(?:time|at)":)\d+', r"\1·", text)
    for value in sorted((str(value) for value in ids.values()), key=len, reverse=True):
        text = text.replace(value, "·")
    return text
