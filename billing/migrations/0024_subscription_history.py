"""How subscriptions change is kept from now on, and what is known of those that there are."""

import django.db.models.deletion
from django.db import migrations, models

import kit.clock
import kit.ids
from tenants.isolation import AppendOnly, IsolateTable

BEGIN = """
    ALTER TABLE billing_subscription NO FORCE ROW LEVEL SECURITY;
    CREATE TEMPORARY TABLE known ON COMMIT DROP AS
    SELECT tenant_id, stripe_id, status, plan, plan_version, ended_at, fetched_at,
           coalesce(raw #>> '{items,data,0,price,recurring,interval}', 'month') AS "interval",
           coalesce((raw #>> '{items,data,0,quantity}')::int, 1) AS seats,
           CASE WHEN status <> 'trialing' AND trial_end IS NOT NULL AND trial_end > coalesce(started_at, fetched_at)
                THEN trial_end ELSE coalesce(started_at, fetched_at) END AS begun
    FROM billing_subscription;
    ALTER TABLE billing_subscription FORCE ROW LEVEL SECURITY;
    INSERT INTO billing_subscriptionchange
        (id, tenant_id, subscription, at, status, plan, plan_version, "interval", seats, recorded_at)
    SELECT gen_random_uuid(), tenant_id, stripe_id, begun,
           CASE WHEN status = 'canceled' THEN 'active' ELSE status END, plan, plan_version, "interval", seats, now()
    FROM known;
    INSERT INTO billing_subscriptionchange
        (id, tenant_id, subscription, at, status, plan, plan_version, "interval", seats, recorded_at)
    SELECT gen_random_uuid(), tenant_id, stripe_id,
           greatest(coalesce(ended_at, fetched_at), begun + interval '1 microsecond'),
           status, plan, plan_version, "interval", seats, now()
    FROM known WHERE status = 'canceled'"""
"""Earlier plans of one subscription were not kept: it counts as what it is from its beginning, or from the end of its
trial, to its end."""


class Migration(migrations.Migration):

    dependencies = [("billing", "0022_dunning"), ("tenants", "0004_job_mail")]

    operations = [
        migrations.CreateModel(
            name="SubscriptionChange",
            fields=[
                ("id", models.UUIDField(default=kit.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ("subscription", models.CharField(max_length=255)),
                ("at", models.DateTimeField()),
                ("status", models.CharField(max_length=30)),
                ("plan", models.CharField(blank=True, max_length=40)),
                ("plan_version", models.PositiveIntegerField(default=0)),
                ("interval", models.CharField(max_length=10)),
                ("seats", models.PositiveIntegerField(default=1)),
                ("recorded_at", models.DateTimeField(default=kit.clock.now, editable=False)),
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
                "indexes": [models.Index(fields=["at"], name="billing_subscription_changed")],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("tenant", "subscription", "at"), name="billing_subscription_change_once"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="SubscriptionMonth",
            fields=[
                ("id", models.UUIDField(default=kit.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ("month", models.DateField()),
                ("mrr_nano", models.BigIntegerField()),
                ("plan", models.CharField(blank=True, max_length=40)),
                ("plan_version", models.PositiveIntegerField(default=0)),
                ("status", models.CharField(max_length=30)),
                ("interval", models.CharField(max_length=10)),
                ("seats", models.PositiveIntegerField(default=1)),
                ("unpriced", models.BooleanField(default=False)),
                ("taken_at", models.DateTimeField(default=kit.clock.now, editable=False)),
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
                "indexes": [models.Index(fields=["month"], name="billing_subscription_months")],
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "month"), name="billing_subscription_month_once"),
                    models.CheckConstraint(
                        condition=models.Q(("mrr_nano__gte", 0)), name="billing_subscription_month_positive"
                    ),
                ],
            },
        ),
        migrations.RunSQL(BEGIN, reverse_sql=migrations.RunSQL.noop),
        IsolateTable("billing_subscriptionchange"),
        IsolateTable("billing_subscriptionmonth"),
        AppendOnly("billing_subscriptionchange"),
        AppendOnly("billing_subscriptionmonth"),
    ]
