"""Seats beyond a plan's own are counted in what a subscription is worth, and it is kept who had a trial."""

import django.db.models.deletion
from django.db import migrations, models

import kit.clock
import kit.ids
from tenants.isolation import IsolateTable

REFUSED = [("owner", "Owner"), ("card", "Card")]


class Migration(migrations.Migration):

    dependencies = [("billing", "0034_changes_by_quantity")]

    operations = [
        migrations.AddField(
            model_name="subscriptionchange",
            name="extra_seats",
            field=models.PositiveIntegerField(default=0, db_default=0),
        ),
        migrations.AddField(
            model_name="subscriptionmonth",
            name="extra_seats",
            field=models.PositiveIntegerField(default=0, db_default=0),
        ),
        migrations.CreateModel(
            name="TrialMark",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("digest", models.CharField(max_length=64, unique=True)),
                ("kind", models.CharField(choices=REFUSED, max_length=10)),
                ("organisation", models.UUIDField()),
                ("at", models.DateTimeField(default=kit.clock.now, editable=False)),
            ],
        ),
        migrations.CreateModel(
            name="TrialTaken",
            fields=[
                ("id", models.UUIDField(default=kit.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ("subscription", models.CharField(max_length=255, unique=True)),
                ("plan", models.CharField(blank=True, max_length=40)),
                ("plan_version", models.PositiveIntegerField(default=0)),
                ("ends_at", models.DateTimeField(null=True)),
                ("refused", models.CharField(blank=True, choices=REFUSED, max_length=10)),
                ("reminded_at", models.DateTimeField(null=True)),
                ("begun_at", models.DateTimeField(default=kit.clock.now, editable=False)),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["tenant", "-begun_at"], name="billing_trial_recent")],
            },
        ),
        IsolateTable("billing_trialtaken"),
    ]
