"""Staff's visits, walled in like every table of a tenant, and the look-up that precedes the tenant's scope."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import kit.clock
import kit.ids
from tenants.isolation import DoorFunction, IsolateTable


class Migration(migrations.Migration):
    dependencies = [("tenants", "0001_initial")]

    operations = [
        migrations.CreateModel(
            name="Visit",
            fields=[
                ("id", models.UUIDField(default=kit.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ("reason", models.CharField(max_length=300)),
                ("created_at", models.DateTimeField(default=kit.clock.now, editable=False)),
                ("expires_at", models.DateTimeField()),
                ("ended_at", models.DateTimeField(blank=True, null=True)),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={"abstract": False},
        ),
        IsolateTable("tenants_visit"),
        DoorFunction(
            "door_visit",
            "wanted uuid",
            "TABLE (visit_id uuid, tenant_id uuid, tenant_name varchar, tenant_slug varchar, tenant_status varchar, "
            "user_id uuid, expires_at timestamptz)",
            "SELECT v.id, t.id, t.name, t.slug, t.status, u.id, v.expires_at FROM tenants_visit v "
            "JOIN tenants_tenant t ON t.id = v.tenant_id JOIN tenants_user u ON u.id = v.user_id "
            "WHERE v.id = wanted AND v.ended_at IS NULL AND v.expires_at > now() AND u.is_staff AND u.is_active",
        ),
    ]
