"""Rollouts count every call and word once, by the transaction that wrote it, and shadows compare every kind of answer."""

import django.db.models.deletion
from django.db import migrations, models

import kit.ids
import serving.models.counts
from tenants.isolation import IsolateTable

COUNT_WHAT_RUNS = """
    ALTER TABLE serving_rollout NO FORCE ROW LEVEL SECURITY;
    INSERT INTO serving_rolloutcount (id, tenant_id, rollout_id, counted_to, rounds)
    SELECT gen_random_uuid(), tenant_id, id, 0, (
        SELECT jsonb_agg(jsonb_build_object(
            'share', share, 'closed', number < round,
            'began_at', to_jsonb(CASE WHEN number < round THEN created_at ELSE round_at END),
            'stable', none, 'candidate', none) ORDER BY number)
        FROM generate_series(1, round) AS number, jsonb_build_object(
            'calls', 0, 'errors', 0, 'slow', 0, 'timed', 0, 'judged', 0, 'wrong', 0) AS none)
    FROM serving_rollout;
    ALTER TABLE serving_rollout FORCE ROW LEVEL SECURITY"""
"""When earlier rounds began was not kept, so what came in them decides nothing, as before."""


class Migration(migrations.Migration):
    """The columns, the sums, and a beginning for the rollouts that there are."""

    dependencies = [("serving", "0009_engine_time"), ("tenants", "0004_job_mail")]

    operations = [
        migrations.CreateModel(
            name="RolloutCount",
            fields=[
                ("id", models.UUIDField(default=kit.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ("counted_to", models.BigIntegerField(default=0)),
                ("rounds", models.JSONField(default=list)),
                (
                    "rollout",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE, related_name="count", to="serving.rollout"
                    ),
                ),
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
            options={"abstract": False},
        ),
        migrations.AddField("feedback", "counted", models.BooleanField(editable=False, null=True)),
        migrations.AddField(
            "feedback",
            "written",
            models.BigIntegerField(db_default=serving.models.counts.WritingTransaction(), editable=False),
        ),
        migrations.AddField(
            "requestrecord",
            "written",
            models.BigIntegerField(db_default=serving.models.counts.WritingTransaction(), editable=False),
        ),
        migrations.AddField("shadowcount", "parts", models.PositiveBigIntegerField(default=0)),
        migrations.AddField("shadowcount", "parts_agreed", models.PositiveBigIntegerField(default=0)),
        migrations.AddField("shadowcount", "measured", models.FloatField(default=0.0)),
        migrations.RunSQL(COUNT_WHAT_RUNS, reverse_sql=migrations.RunSQL.noop),
        IsolateTable("serving_rolloutcount", refs={"rollout_id": "serving_rollout"}),
    ]
