"""The second and third wall, as one migration operation.

`IsolateTable` enables and forces row-level security on a tenant-owned table, and ties its references to the same
tenant with composite foreign keys, because PostgreSQL checks neither foreign keys nor unique constraints per tenant.
"""

from typing import Any

from django.db.migrations.operations.base import Operation

APP_ROLE = "tunesmith_app"
OPS_ROLE = "tunesmith_ops"
STAFF_ONLY = "staff_only"
"""Name of the policy by which a table is known to be for staff alone."""
OWNER = "owner"
"""Database alias of the role that migrates."""
CURRENT = "(SELECT nullif(current_setting('app.tenant_id', true), '')::uuid)"
"""Empty after a finished SET LOCAL, NULL before the first: both compare to nothing, so the table fails closed."""


def isolate_sql(table: str, tenant_column: str = "tenant_id", refs: dict[str, str] | None = None) -> list[str]:
    """The statements that wall a table in."""
    statements = [
        f'ALTER TABLE "{table}" ENABLE ROW LEVEL SECURITY',
        f'ALTER TABLE "{table}" FORCE ROW LEVEL SECURITY',
        f'CREATE POLICY "{table}_tenant" ON "{table}" USING ("{tenant_column}" = {CURRENT}) '
        f'WITH CHECK ("{tenant_column}" = {CURRENT})',
    ]
    if tenant_column == "tenant_id":
        statements.append(f'ALTER TABLE "{table}" ADD CONSTRAINT "{table}_tenant_uniq" UNIQUE ("tenant_id", "id")')
    for column, target in (refs or {}).items():
        statements.append(
            f'ALTER TABLE "{table}" ADD CONSTRAINT "{table}_{column}_same_tenant" '
            f'FOREIGN KEY ("tenant_id", "{column}") REFERENCES "{target}" ("tenant_id", "id") '
            "DEFERRABLE INITIALLY DEFERRED"
        )
    return statements


class IsolateTable(Operation):
    """Wall a tenant-owned table in. `refs` maps each column that points at another tenant-owned table to that table."""

    reduces_to_sql = True
    reversible = False

    def __init__(self, table: str, refs: dict[str, str] | None = None, tenant_column: str = "tenant_id") -> None:
        self.table = table
        self.refs = refs or {}
        self.tenant_column = tenant_column

    def state_forwards(self, app_label: str, state: Any) -> None:
        """Django's model state knows nothing of policies."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        """Run the statements as the owner role."""
        if schema_editor.connection.alias != OWNER:
            return
        for statement in isolate_sql(self.table, self.tenant_column, self.refs):
            schema_editor.execute(statement, params=None)

    def describe(self) -> str:
        """For `migrate --plan`."""
        return f"Isolate tenants in {self.table}"


TAKE_RIGHTS = f"""
DO $$
DECLARE kept regclass;
BEGIN
  FOR kept IN
    SELECT tgrelid::regclass FROM pg_trigger JOIN pg_proc ON pg_proc.oid = tgfoid WHERE proname = 'refuse_change'
  LOOP
    EXECUTE format('REVOKE UPDATE, DELETE, TRUNCATE ON %s FROM {APP_ROLE}, {OPS_ROLE}', kept);
  END LOOP;
  FOR kept IN
    SELECT polrelid::regclass FROM pg_policy WHERE polname = '{STAFF_ONLY}'
  LOOP
    EXECUTE format('REVOKE ALL ON %s FROM {APP_ROLE}', kept);
  END LOOP;
END $$
"""
"""Take from both serving roles the right to change what is append-only, wherever its trigger stands, and from the one
that serves tenants every right to what is for staff, wherever its policy stands. Rights given to all tables at once
(`config.engines.make_roles`) are given to these as well, so this comes after. PostgreSQL gives no
row lock without the right to UPDATE, so nobody may ask for `select_for_update` on these tables; none has to, because
their rows never change."""


class AppendOnly(Operation):
    """Refuse UPDATE, DELETE and TRUNCATE on a table: by right to the serving roles, by trigger to every role."""

    reduces_to_sql = True
    reversible = False

    def __init__(self, table: str) -> None:
        self.table = table

    def state_forwards(self, app_label: str, state: Any) -> None:
        """Nothing in the model state."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        """One shared trigger function, two triggers."""
        if schema_editor.connection.alias != OWNER:
            return
        schema_editor.execute(
            "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'table % is append-only', TG_TABLE_NAME; END $$",
            params=None,
        )
        schema_editor.execute(
            f'CREATE TRIGGER "{self.table}_append_only" BEFORE UPDATE OR DELETE ON "{self.table}" '
            "FOR EACH ROW EXECUTE FUNCTION refuse_change()",
            params=None,
        )
        schema_editor.execute(
            f'CREATE TRIGGER "{self.table}_no_truncate" BEFORE TRUNCATE ON "{self.table}" '
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()",
            params=None,
        )
        schema_editor.execute(TAKE_RIGHTS, params=None)

    def describe(self) -> str:
        """For `migrate --plan`."""
        return f"Make {self.table} append-only"


class StaffOnly(Operation):
    """Keep a table from the role that serves tenants: no right to it, and a policy under which it holds nothing."""

    reduces_to_sql = True
    reversible = False

    def __init__(self, table: str) -> None:
        self.table = table

    def state_forwards(self, app_label: str, state: Any) -> None:
        """Nothing in the model state."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        """The policy restricts what any other policy permits, should a right ever come back."""
        if schema_editor.connection.alias != OWNER:
            return
        schema_editor.execute(f'ALTER TABLE "{self.table}" ENABLE ROW LEVEL SECURITY', params=None)
        schema_editor.execute(f'ALTER TABLE "{self.table}" FORCE ROW LEVEL SECURITY', params=None)
        schema_editor.execute(
            f'CREATE POLICY "{STAFF_ONLY}" ON "{self.table}" AS RESTRICTIVE TO {APP_ROLE} '
            "USING (false) WITH CHECK (false)",
            params=None,
        )
        schema_editor.execute(TAKE_RIGHTS, params=None)

    def describe(self) -> str:
        """For `migrate --plan`."""
        return f"Keep {self.table} for staff"


class DoorFunction(Operation):
    """A SECURITY DEFINER function owned by the ops role: the few look-ups that must happen before a tenant is known."""

    reduces_to_sql = True
    reversible = False

    def __init__(self, name: str, arguments: str, returns: str, body: str) -> None:
        self.name, self.arguments, self.returns, self.body = name, arguments, returns, body

    def state_forwards(self, app_label: str, state: Any) -> None:
        """Nothing in the model state."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        """Create it, hand it to the ops role, let only the two serving roles call it."""
        if schema_editor.connection.alias != OWNER:
            return
        signature = f"{self.name}({self.arguments})"
        schema_editor.execute(
            f"CREATE OR REPLACE FUNCTION {signature} RETURNS {self.returns} LANGUAGE sql "
            f"STABLE SECURITY DEFINER SET search_path = public AS $body${self.body}$body$",
            params=None,
        )
        schema_editor.execute(f"ALTER FUNCTION {signature} OWNER TO {OPS_ROLE}", params=None)
        schema_editor.execute(f"REVOKE ALL ON FUNCTION {signature} FROM PUBLIC", params=None)
        schema_editor.execute(f"GRANT EXECUTE ON FUNCTION {signature} TO {APP_ROLE}, {OPS_ROLE}", params=None)

    def describe(self) -> str:
        """For `migrate --plan`."""
        return f"Create the door function {self.name}"
