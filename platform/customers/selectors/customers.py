"""Customers as staff see them: the list, and one at a glance. All of it runs in the ops scope."""

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from allauth.usersessions.models import UserSession
from django.db.models import Count, Exists, F, Max, OuterRef, Q, QuerySet, Sum

from billing.models import TenantEntitlement, UsageHour
from billing.plans import plan_book
from customers.health import Facts, Health, health
from customers.models import HealthScore, Note, Tag, Thread
from customers.selectors.facts import calls_of, facts_of
from customers.states import FOR_STAFF
from kit.clock import now
from kit.errors import NotFound
from kit.ids import LENGTH, decode
from tenants.models import ApiKey, Member, Tenant
from tenants.scope import OPS
from training.models import Job

MOST = 20
"""Members, notes and threads that a customer's page shows at once."""
DAYS = 28
ORDERS = ("newest", "health", "name")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a list is narrowed to; an empty value narrows nothing."""

    text: str = ""
    tag: str = ""
    band: str = ""
    plan: str = ""
    status: str = ""
    order: str = "newest"


@dataclass(frozen=True, slots=True)
class Line:
    """A customer in the list."""

    tenant: Tenant
    plan: str
    standing: str
    spent_nano: int
    health: HealthScore | None
    seen_at: dt.datetime | None
    tags: list[str]
    waiting: int
    """Threads that wait for staff."""


@dataclass(frozen=True, slots=True)
class Seat:
    """A member, and when they were here last."""

    member: Member
    seen_at: dt.datetime | None


@dataclass(frozen=True, slots=True)
class Glance:
    """One customer."""

    line: Line
    health: Health
    facts: Facts
    called_at: dt.datetime | None
    calls_by_day: list[tuple[dt.date, int]]
    members: list[Seat]
    members_n: int
    jobs: list[tuple[str, int]]
    keys: int
    notes: list[Note]
    notes_n: int
    threads: list[Thread]
    threads_n: int
    tags: list[Tag] = field(default_factory=list)


def customers(wanted: Wanted) -> "QuerySet[Tenant]":
    """Customers that were not erased, narrowed and ordered."""
    rows = Tenant.ops.exclude(status=Tenant.Status.ERASED)
    if wanted.text:
        rows = rows.filter(_found_by(wanted.text.strip()))
    if wanted.tag:
        rows = rows.filter(Exists(Tag.ops.filter(tenant=OuterRef("pk"), name=wanted.tag, removed_at=None)))
    if wanted.band:
        rows = rows.filter(Exists(HealthScore.ops.filter(tenant=OuterRef("pk"), band=wanted.band)))
    if wanted.plan:
        paying = TenantEntitlement.ops.filter(tenant=OuterRef("pk"))
        there = Exists(paying.filter(plan=wanted.plan))
        rows = rows.filter(there | ~Exists(paying) if wanted.plan == plan_book().free.code else there)
    if wanted.status:
        rows = rows.filter(status=wanted.status)
    if wanted.order == "health":
        score = HealthScore.ops.filter(tenant=OuterRef("pk")).values("score")[:1]
        return rows.annotate(score=score).order_by(F("score").asc(nulls_last=True), "name", "pk")
    return rows.order_by(*(("name", "pk") if wanted.order == "name" else ("-created_at", "-pk")))


def _found_by(text: str) -> Q:
    """By name, address, a member's e-mail, or public id."""
    member = Member.ops.filter(tenant=OuterRef("pk"), user__email__icontains=text)
    found = Q(name__icontains=text) | Q(slug__icontains=text) | Q(Exists(member))
    try:
        return found | Q(pk=decode(text[-LENGTH:]))
    except ValueError:
        return found


def lines(tenants: Iterable[Tenant]) -> list[Line]:
    """The customers with what the list says of each, in as many queries for one as for many."""
    rows = list(tenants)
    ids = [row.pk for row in rows]
    plans = {row.tenant_id: row for row in TenantEntitlement.ops.filter(tenant__in=ids)}
    spent = dict(_month().filter(tenant__in=ids).order_by().values_list("tenant_id").annotate(n=Sum("cost_nano")))
    scores = {row.tenant_id: row for row in HealthScore.ops.filter(tenant__in=ids)}
    tags: dict[UUID, list[str]] = defaultdict(list)
    for tenant_id, name in (
        Tag.ops.filter(tenant__in=ids, removed_at=None).order_by("name").values_list("tenant_id", "name")
    ):
        tags[tenant_id].append(name)
    threads = Thread.ops.filter(tenant__in=ids, state__in=FOR_STAFF)
    waiting = dict(threads.order_by().values_list("tenant_id").annotate(n=Count("pk")))
    seen = last_seen(ids)
    free = plan_book().free.code
    return [
        Line(
            tenant=row,
            plan=plans[row.pk].plan if row.pk in plans else free,
            standing=plans[row.pk].standing if row.pk in plans else "good",
            spent_nano=int(spent.get(row.pk) or 0),
            health=scores.get(row.pk),
            seen_at=seen.get(row.pk),
            tags=tags[row.pk],
            waiting=waiting.get(row.pk, 0),
        )
        for row in rows
    ]


def _month() -> "QuerySet[UsageHour]":
    first = now().astimezone(dt.UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    found: QuerySet[UsageHour] = UsageHour.ops.filter(hour__gte=first)
    return found


def last_seen(ids: list[UUID]) -> dict[UUID, dt.datetime]:
    """When anybody of each organisation was here last: a member in a browser, or a key."""
    seats = Member.ops.filter(tenant__in=ids)
    users = dict(_latest(seats, "user__last_login"))
    sessions = UserSession.objects.using(OPS).filter(user=OuterRef("user_id")).order_by("-last_seen_at")
    browsers = _latest(seats.annotate(here=sessions.values("last_seen_at")[:1]), "here")
    keys = _latest(ApiKey.ops.filter(tenant__in=ids), "last_used_at")
    found: dict[UUID, dt.datetime] = {}
    for tenant_id, at in [*users.items(), *browsers, *keys]:
        if at is not None:
            found[tenant_id] = max(at, found.get(tenant_id, at))
    return found


def _latest(rows: Any, column: str) -> list[tuple[UUID, dt.datetime | None]]:
    return list(rows.order_by().values_list("tenant_id").annotate(at=Max(column)))


def customer_by_id(tenant_id: UUID) -> Tenant:
    """One customer. NotFound for one that is not there, or was erased."""
    tenant = Tenant.ops.exclude(status=Tenant.Status.ERASED).filter(pk=tenant_id).first()
    if tenant is None:
        raise NotFound.of(tenant_id)
    found: Tenant = tenant
    return found


def glance(tenant: Tenant) -> Glance:
    """Everything that a customer's page shows."""
    pk = tenant.pk
    facts = facts_of([tenant])[pk]
    seats = Member.ops.filter(tenant=pk).select_related("user")
    notes = Note.ops.filter(tenant=pk, removed_at=None).order_by("-created_at")
    threads = Thread.ops.filter(tenant=pk).order_by("-moved_at")
    alive = Q(expires_at=None) | Q(expires_at__gt=now())
    return Glance(
        line=lines([tenant])[0],
        health=health(facts),
        facts=facts,
        called_at=calls_of([pk]).aggregate(at=Max("hour"))["at"],
        calls_by_day=calls_by_day(pk),
        members=_seats(list(seats.order_by("created_at")[:MOST])),
        members_n=seats.count(),
        jobs=sorted(Job.ops.filter(tenant=pk).order_by().values_list("state").annotate(n=Count("pk"))),
        keys=ApiKey.ops.filter(alive, tenant=pk, revoked_at=None).count(),
        notes=list(notes[:MOST]),
        notes_n=notes.count(),
        threads=list(threads[:MOST]),
        threads_n=threads.count(),
        tags=list(Tag.ops.filter(tenant=pk, removed_at=None).order_by("name")),
    )


def _seats(members: list[Member]) -> list[Seat]:
    users = [member.user_id for member in members]
    sessions = UserSession.objects.using(OPS).filter(user__in=users).order_by()
    here = dict(sessions.values_list("user_id").annotate(at=Max("last_seen_at")))
    moments = [(member, [at for at in (member.user.last_login, here.get(member.user_id)) if at]) for member in members]
    return [Seat(member, max(seen, default=None)) for member, seen in moments]


def calls_by_day(tenant_id: UUID) -> list[tuple[dt.date, int]]:
    """Calls of each of the last days (UTC), oldest first, days without any as 0."""
    today = now().astimezone(dt.UTC).date()
    first = today - dt.timedelta(days=DAYS - 1)
    start = dt.datetime.combine(first, dt.time(), dt.UTC)
    hours = calls_of([tenant_id]).filter(hour__gte=start)
    by_day: dict[dt.date, int] = defaultdict(int)
    for hour, n in hours.order_by().values_list("hour").annotate(n=Sum("requests")):
        by_day[hour.astimezone(dt.UTC).date()] += int(n or 0)
    return [(day, by_day[day]) for day in (first + dt.timedelta(days=i) for i in range(DAYS))]


def tags_known() -> list[tuple[str, int]]:
    """Every tag in use, with how many customers have it."""
    rows = Tag.ops.filter(removed_at=None).order_by("name").values_list("name")
    return list(rows.annotate(n=Count("pk")))
