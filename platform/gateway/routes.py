"""Which models a project can call, in process: read once per project, told of changes by `news:routes`.

A name that is not found is looked for again in the database before the call is refused, at most once a second per
project, so that a model that has just gone live answers on the next call whatever became of the news.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from uuid import UUID

from gateway import database
from gateway.errors import ModelUnknown
from gateway.metrics import LOOKUPS
from serving.routes import Route, routes_of
from serving.texts import kept_days

log = logging.getLogger(__name__)

REFRESH_SECONDS = 10.0
IDLE_SECONDS = 600.0
AGAIN_SECONDS = 1.0


@dataclass(slots=True, eq=False)
class ProjectRoutes:
    """What one project can call."""

    tenant_id: UUID
    project_id: UUID
    by_name: dict[str, Route]
    read: float
    used: float
    stale: bool = False
    keeps: bool = False
    """Whether the project wants the texts of its requests kept."""


class RouteBook:
    """Routes of every project that called lately."""

    def __init__(self) -> None:
        self._projects: dict[UUID, ProjectRoutes] = {}
        self._reading: dict[UUID, asyncio.Task[ProjectRoutes]] = {}

    async def find(self, tenant_id: UUID, project_id: UUID, name: str) -> Route:
        """The route of a model or alias. Raises ModelUnknown."""
        routes = await self.project(tenant_id, project_id)
        route = routes.by_name.get(name)
        if route is None and time.monotonic() - routes.read > AGAIN_SECONDS:
            routes = await self._read(tenant_id, project_id)
            route = routes.by_name.get(name)
        if route is None:
            raise ModelUnknown(name)
        return route

    async def project(self, tenant_id: UUID, project_id: UUID) -> ProjectRoutes:
        """All routes of a project."""
        routes = self._projects.get(project_id)
        if routes is None or routes.stale:
            routes = await self._read(tenant_id, project_id)
        routes.used = time.monotonic()
        return routes

    def forget(self, project: str) -> None:
        """News: a project's deployments or aliases changed."""
        for routes in self._projects.values():
            if routes.project_id.hex == project:
                routes.stale = True

    def forget_all(self) -> None:
        """News may have been missed."""
        self._projects.clear()

    async def refresh_for_ever(self) -> None:
        """Re-read projects in use, news or not."""
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            now = time.monotonic()
            for routes in list(self._projects.values()):
                if now - routes.used > IDLE_SECONDS:
                    self._projects.pop(routes.project_id, None)
                    continue
                try:
                    await self._read(routes.tenant_id, routes.project_id)
                except Exception:  # the database is away: what was live a moment ago still is
                    log.warning("routes could not be re-read", exc_info=True)
                    break

    async def _read(self, tenant_id: UUID, project_id: UUID) -> ProjectRoutes:
        """Read a project's routes; callers at the same time share one query."""
        task = self._reading.get(project_id)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._read_now(tenant_id, project_id))
            self._reading[project_id] = task
            task.add_done_callback(lambda _: self._reading.pop(project_id, None))
        return await asyncio.shield(task)

    async def _read_now(self, tenant_id: UUID, project_id: UUID) -> ProjectRoutes:
        started = time.monotonic()
        by_name, days = await database.ask(
            lambda: (routes_of(tenant_id=tenant_id, project_id=project_id),
                     kept_days(tenant_id=tenant_id, project_id=project_id))
        )  # fmt: skip
        LOOKUPS.labels("routes").inc()
        before = self._projects.get(project_id)
        used = before.used if before else started
        routes = ProjectRoutes(tenant_id, project_id, by_name, started, used, keeps=days > 0)
        self._projects[project_id] = routes
        return routes
