"""Indexes of large tables, made beside the work that goes on."""

from typing import Any

from django.contrib.postgres.operations import AddIndexConcurrently


class IndexConcurrently(AddIndexConcurrently):
    """Waits as long as it takes for transactions that are open, unlike other migrations (DATABASE_LOCK_SECONDS):
    whoever comes after does not wait behind it. What an earlier try that was broken off has left is made anew, and what
    it had done is kept."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        """In the owner's session, outside a transaction."""
        with schema_editor.connection.cursor() as cursor:
            cursor.execute("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)", [self.index.name])
            found = cursor.fetchone()
            if found == (True,):
                return
            cursor.execute("SET lock_timeout = 0")
            try:
                if found:
                    cursor.execute(f'DROP INDEX CONCURRENTLY "{self.index.name}"')
                super().database_forwards(app_label, schema_editor, from_state, to_state)
            finally:
                cursor.execute("RESET lock_timeout")
