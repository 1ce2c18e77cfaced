"""`manage.py project_limits`: what one project may do of what its organisation may do."""

import argparse
import json
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError

from billing.models import ProjectLimits
from billing.services.limits import NAMES, project_limits_set
from kit.errors import ApiError
from kit.ids import parse_id
from tenants.models import Project
from tenants.scope import tenant_scope


class Command(BaseCommand):
    """Shows or replaces a project's own limits."""

    help = "Show a project's limits, or replace them: --set requests_per_minute=60 --set monthly_spend_nano=1000000000"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Ids as the API shows them."""
        parser.add_argument("--tenant", required=True, help="org_…")
        parser.add_argument("--project", required=True, help="proj_…")
        parser.add_argument("--set", action="append", default=[], metavar="NAME=NUMBER", help=", ".join(NAMES))
        parser.add_argument("--clear", action="store_true", help="lift all of the project's own limits")

    def handle(self, *args: Any, **options: Any) -> None:
        """Prints the limits as JSON."""
        try:
            tenant_id, project_id = parse_id("org_", options["tenant"]), parse_id("proj_", options["project"])
            print(json.dumps(_apply(tenant_id, project_id, options)))
        except ApiError as error:
            raise CommandError(error.message) from error


def _apply(tenant_id: UUID, project_id: UUID, options: dict[str, Any]) -> dict[str, Any]:
    with tenant_scope(tenant_id):
        project = Project.objects.filter(pk=project_id).first()
        if project is None:
            raise CommandError("This organisation has no such project.")
        if options["clear"]:
            return dict(project_limits_set(project=project, limits={}).limits)
        row = ProjectLimits.objects.filter(project=project).first()
        limits = dict(row.limits) if row is not None else {}
        if not options["set"]:
            return limits
        for pair in options["set"]:
            name, _, value = pair.partition("=")
            if not value.isdigit():
                raise CommandError(f"'{pair}' is not NAME=NUMBER.")
            limits[name] = int(value)
        return dict(project_limits_set(project=project, limits=limits).limits)
