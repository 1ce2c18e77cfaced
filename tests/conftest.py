"""Fixtures for every test: real PostgreSQL and Redis, and a small named cast.

Tests commit for real and never clean up: each makes its own tenant, and isolation keeps them apart, as in production.
The schema is migrated once into a template database and copied for each run.
"""

import gc
import importlib
import json
import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import hypothesis
import psycopg
import pytest
from django.apps import apps
from django.conf import settings
from django.core.management import call_command
from django.db import connections
from django.test import Client
from psycopg import sql

from billing.services.stores import quota_store
from config import embedded
from config.engines import Postgres, Redis, make_roles
from data import reader
from kit import redis
from tests import schema
from tests.browser import chromium, site
from tests.cases import Cases

__all__ = ["chromium", "site"]

read_in_a_process = reader.run
hypothesis.settings.register_profile(
    "tunesmith", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)  # a busy machine is no fault of the code
hypothesis.settings.load_profile("tunesmith")
gc.disable()  # while everything is imported: nothing of that can go, and the collector would read it again and again


def pytest_configure(config: pytest.Config) -> None:
    """Generated cases are counted. Whoever deals the tests out to workers has nothing to do meanwhile."""
    config.pluginmanager.register(Cases())
    if config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        schema.begin()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long modules first (`make` tells xdist to keep the order): no worker sits idle beside another's last journey."""
    for mark in ("slow", "realdata"):
        long = {item.path for item in items if item.get_closest_marker(mark)}
        items.sort(key=lambda item, long=long: item.path not in long)  # type: ignore[misc]


def pytest_collection_finish() -> None:
    """From here on the collector works again, leaves alone what was imported, and comes seldom.

    As often as it comes by default it was a tenth of the tests' own time.
    """
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    gc.enable()


@pytest.fixture(scope="session")
def engines() -> Iterator[Postgres]:
    """The embedded engines of this run's home; the database of them."""
    postgres, redis = Postgres(settings.HOME, durable=False), Redis(settings.HOME)
    postgres.start()
    redis.start()
    yield postgres
    for connection in connections.all():
        connection.close()
    redis.stop()
    postgres.stop()


@pytest.fixture(scope="session")
def django_db_setup(engines: Postgres, django_db_blocker: Any) -> None:
    """A fresh database from the migrated template; database access is open in every test."""
    admin = embedded.superuser_url(settings.HOME)
    template = f"template_{schema.digest()}"
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(embedded.DATABASE)))
        ready = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [template]).fetchone()
    django_db_blocker.unblock()
    if not ready:
        make_roles(admin, embedded.DATABASE)
        with schema.one_at_a_time():
            if not schema.read_into(engines):
                call_command("migrate", database="owner", verbosity=0)
                schema.write_down(engines)
        for alias in connections:
            connections[alias].close()
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute(
                sql.SQL("ALTER DATABASE {} RENAME TO {}").format(
                    sql.Identifier(embedded.DATABASE), sql.Identifier(template)
                )
            )
    make_roles(admin, embedded.DATABASE, template=template)
    redis.client().flushdb()  # what an earlier run left there speaks of tenants this database never had
    quota_store().begin()


@pytest.fixture(autouse=True, scope="session")
def _database_for_all(django_db_setup: None) -> None:
    """Every test may use the database."""


@pytest.fixture(autouse=True, scope="session")
def _readers_here() -> None:
    """Files are read and written in the test's own process: a process each is a third of a second of imports.

    `tests/data/test_reader.py` has the real thing, as have the worker's tests, whose worker is a process of its own.
    """
    reader.run = _answer


def _answer(module: str, request: dict[str, Any]) -> dict[str, Any]:
    """What `data.reader.run` answers, by the same function, after the same way through JSON."""
    answer = importlib.import_module(module).answer(json.loads(json.dumps(request)))
    read: dict[str, Any] = json.loads(json.dumps(answer))
    return read


class Api:
    """A plain HTTP client of the API with one key."""

    def __init__(self, key: str | None) -> None:
        self.key = key
        self.client = Client(raise_request_exception=False)

    def request(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """Send JSON (or bytes, or a multipart mapping under `files=`) and return Django's response."""
        if self.key is not None:
            headers.setdefault("Authorization", f"Bearer {self.key}")
        options: dict[str, Any] = {"headers": {name.replace("_", "-"): value for name, value in headers.items()}}
        if body is not None:
            options |= {"data": body, "content_type": "application/json"}
        return getattr(self.client, method.lower())(path, **options)

    def get(self, path: str, **headers: str) -> Any:
        """GET."""
        return self.request("get", path, **headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Any:
        """POST a JSON body."""
        return self.request("post", path, {} if body is None else body, **headers)

    def delete(self, path: str, **headers: str) -> Any:
        """DELETE."""
        return self.request("delete", path, **headers)

    def upload(self, path: str, fields: dict[str, Any]) -> Any:
        """POST a multipart form."""
        return self.client.post(path, data=fields, headers={"Authorization": f"Bearer {self.key}"})


@dataclass
class Person:
    """Somebody with a seat: user, tenant, project, a key, an API client and a signed-in browser."""

    user: Any
    tenant: Any
    project: Any
    key: str
    key_row: Any
    role: str

    @cached_property
    def api(self) -> Api:
        """A client of the API with the person's key."""
        return Api(self.key)

    @cached_property
    def browser(self) -> Client:
        """A signed-in browser; most tests need none, and a session is half the cost of a person."""
        browser = Client(raise_request_exception=False)
        browser.force_login(self.user, backend=settings.AUTHENTICATION_BACKENDS[0])
        return browser

    @property
    def home(self) -> str:
        """The organisation's path in the console."""
        return f"/o/{self.tenant.slug}"

    @property
    def workspace(self) -> str:
        """The project's path in the console."""
        return f"{self.home}/p/{self.project.slug}"


@dataclass
class Cast:
    """owner and teammate share a tenant; stranger has another one. The last two are made when a test names them."""

    owner: Person

    @cached_property
    def teammate(self) -> Person:
        """Bob, a developer in Ada's organisation."""
        return make_person("bob", beside=self.owner, role="developer")

    @cached_property
    def stranger(self) -> Person:
        """Eve, who has an organisation of her own."""
        return make_person("eve")


CURRENCY = os.environ.get("TEST_CURRENCY", "usd")
"""What organisations pay in, where a test does not say. In euros, what fails are tests that name a dollar."""
PASSPHRASE = "a long enough passphrase"
"""Everybody's."""


def make_user(name: str) -> Any:
    """A user with a verified address nobody else in this run has."""
    from allauth.account.models import EmailAddress

    from tenants.models import User

    email = f"{name}-{secrets.token_hex(4)}@example.com"
    user = User.objects.create_user(email, PASSPHRASE, name=name.title())
    EmailAddress.objects.create(user=user, email=email, verified=True, primary=True)
    return user


def make_person(name: str, *, beside: Person | None = None, role: str = "owner", currency: str = CURRENCY) -> Person:
    """A person with an organisation of their own, or a seat beside somebody."""
    from tenants.access import KEY_SCOPES
    from tenants.models import Member
    from tenants.scope import tenant_scope
    from tenants.services.keys import key_create
    from tenants.services.organisations import tenant_create

    user = make_user(name)
    if beside is None:
        made = tenant_create(name=f"{name.title()} Works", owner=user, currency=currency)
        tenant, project = made.tenant, made.project
    else:
        tenant, project = beside.tenant, beside.project
        with tenant_scope(tenant.id):
            Member.objects.create(user=user, role=role)
    with tenant_scope(tenant.id):
        # Everybody's key may do everything, so that tests of routes ask what is behind the scopes.
        row, plaintext = key_create(project=project, name=f"{name}'s key", created_by=user, scopes=list(KEY_SCOPES))
    return Person(user=user, tenant=tenant, project=project, key=plaintext, key_row=row, role=role)


@pytest.fixture
def cast() -> Cast:
    """Three people in two tenants."""
    return Cast(owner=make_person("ada"))


Snapshot = Callable[[Person], dict[str, str]]


@pytest.fixture(scope="module")
def snapshot() -> Iterator[Snapshot]:
    """What a person's tenant has: a digest of its rows in every table, read by the ops role in one statement.

    It is planned once: two for each case were a third of the isolation tests' time.
    """
    digest = sql.SQL("SELECT {}, md5(coalesce(string_agg(t::text, chr(10) ORDER BY id), '')) FROM {} t WHERE {} = $1")
    from tenants.models import TenantModel

    tables = sorted(model._meta.db_table for model in apps.get_models() if issubclass(model, TenantModel))
    parts = [digest.format(table, sql.Identifier(table), sql.Identifier("tenant_id")) for table in tables]
    with psycopg.connect(**connections["ops"].get_connection_params()) as connection:
        connection.autocommit = True
        connection.execute("SET plan_cache_mode = force_generic_plan")
        connection.execute(sql.SQL("PREPARE snapshot (uuid) AS ") + sql.SQL(" UNION ALL ").join(parts))
        execute = sql.SQL("EXECUTE snapshot ({})")
        yield lambda person: dict(connection.execute(execute.format(sql.Literal(person.tenant.id))).fetchall())
