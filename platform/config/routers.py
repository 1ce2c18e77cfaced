"""Only the owner role changes the schema."""

from typing import Any


class OwnerMigrates:
    """`migrate` has effect on the `owner` alias alone; queries go to `default` unless a manager says otherwise."""

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool:
        """Whether a migration may run on an alias."""
        return db == "owner"

    def allow_relation(self, first: Any, second: Any, **hints: Any) -> bool:
        """All aliases are one database, so rows loaded through different roles may be related."""
        return True
