"""`manage.py prepare_database`: make the roles with their passwords, then migrate. For a PostgreSQL of your own."""

import os
import time
from typing import Any
from urllib.parse import urlsplit

import psycopg
from django.conf import settings
from django.core.management import CommandError, call_command
from django.core.management.base import BaseCommand
from django.db import OperationalError
from psycopg import sql

from config import embedded
from config.engines import make_roles

TRIES, PAUSE_SECONDS = 30, 2.0


class Command(BaseCommand):
    """Roles, rights, schema."""

    help = "Make the three database roles (ADMIN_DATABASE_URL, OWNER_/APP_/OPS_PASSWORD), then migrate."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        """Safe to run at every release."""
        admin = os.environ.get("ADMIN_DATABASE_URL")
        if admin:
            make_roles(admin, settings.DATABASES["owner"]["NAME"])
            with psycopg.connect(admin, autocommit=True) as connection:
                for alias, variable in (
                    ("owner", "OWNER_PASSWORD"),
                    ("default", "APP_PASSWORD"),
                    ("ops", "OPS_PASSWORD"),
                ):
                    password = os.environ.get(variable)
                    if not password:
                        raise CommandError(f"Set {variable}, the password of the role {embedded.ROLES[alias]}.")
                    statement = sql.SQL("ALTER ROLE {} PASSWORD {}")
                    connection.execute(statement.format(sql.Identifier(embedded.ROLES[alias]), sql.Literal(password)))
            self.stdout.write(f"Roles are ready on {urlsplit(admin).hostname}.")
        self._migrate()

    def _migrate(self) -> None:
        """Whoever asks for a table after a migration waits behind it, so it never waits long for a busy one: it lets
        the others pass and tries again. What was migrated before stands. Indexes wait (`kit.indexes`)."""
        for left in reversed(range(TRIES)):
            try:
                call_command("migrate", database="owner", interactive=False, verbosity=1)
                return
            except OperationalError as error:
                if not isinstance(error.__cause__, psycopg.errors.LockNotAvailable) or not left:
                    raise
                self.stdout.write("A table is in use; trying again.")
                time.sleep(PAUSE_SECONDS)
