"""An organisation has one currency, from when it is made and for good: every amount of it is in that."""

from typing import Any

from django.db import migrations, models

from tenants.isolation import OWNER


def keep(apps: Any, schema_editor: Any) -> None:
    """No role changes a currency, in whatever way: amounts would become others."""
    if schema_editor.connection.alias != OWNER:
        return
    schema_editor.execute(
        "CREATE FUNCTION refuse_another_currency() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'the currency of an organisation never changes'; END $$",
        params=None,
    )
    schema_editor.execute(
        "CREATE TRIGGER tenants_tenant_currency BEFORE UPDATE ON tenants_tenant FOR EACH ROW "
        "WHEN (OLD.currency IS DISTINCT FROM NEW.currency) EXECUTE FUNCTION refuse_another_currency()",
        params=None,
    )


class Migration(migrations.Migration):

    dependencies = [
        ('tenants', '0004_job_mail'),
    ]

    operations = [
        migrations.AddField(
            model_name='tenant',
            name='currency',
            field=models.CharField(db_default='usd', default='usd', editable=False, max_length=3),
        ),
        migrations.RunPython(keep, elidable=False),
    ]
