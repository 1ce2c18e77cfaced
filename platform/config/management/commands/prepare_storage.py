"""`manage.py prepare_storage`: make the bucket of an object store of your own, unless it is there."""

import time
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]
from django.conf import settings
from django.core.files.storage import default_storage
from django.core.management import CommandError
from django.core.management.base import BaseCommand

PATIENCE = 60.0
"""Seconds that a store which starts beside us may take."""
REFUSED = {"403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"}


class Command(BaseCommand):
    """The bucket."""

    help = "Make the bucket that STORAGE_BUCKET names. Without one, objects are files and nothing is to do."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        """Safe to run at every release."""
        if not settings.STORAGE_BUCKET:
            self.stdout.write("STORAGE_BUCKET is empty: objects are files under TUNESMITH_HOME.")
            return
        until = time.monotonic() + PATIENCE
        while (problem := self._made()) is not None:
            if time.monotonic() > until:
                raise CommandError(
                    f"The object store at {settings.STORAGE_ENDPOINT or 'AWS'} does not answer: {problem}"
                )
            time.sleep(1)
        self.stdout.write(f"The bucket {settings.STORAGE_BUCKET} is ready.")

    def _made(self) -> Exception | None:
        """None when the bucket is there, or why it cannot be said yet. CommandError where waiting will not help."""
        client = default_storage.connection.meta.client  # type: ignore[attr-defined]
        try:
            try:
                client.head_bucket(Bucket=settings.STORAGE_BUCKET)
            except ClientError as error:
                if error.response["Error"]["Code"] not in {"404", "NoSuchBucket"}:
                    raise
                client.create_bucket(Bucket=settings.STORAGE_BUCKET)
        except ClientError as error:
            if error.response["Error"]["Code"] in REFUSED:
                raise CommandError(
                    f"The object store refused: {error}. Look at STORAGE_ACCESS_KEY and its rights."
                ) from error
            return error
        except BotoCoreError as error:
            return error
        return None
