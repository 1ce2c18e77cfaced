"""Lanes, widths and priorities of waiting jobs; guarantees; places kept for whom room is made; jobs that are blocked.

Every new column has a default in the database: workers of the version before may still be writing.
"""

import django.db.models.functions.datetime
import kit.clock
from django.db import migrations, models

MOVES = """
BEGIN
  IF NEW.state <> OLD.state AND NOT ((OLD.state = 'validating_files' AND NEW.state IN ('cancelled', 'failed', 'queued')) OR (OLD.state = 'queued' AND NEW.state IN ('blocked', 'cancelled', 'failed', 'leased')) OR (OLD.state = 'blocked' AND NEW.state IN ('cancelled', 'failed', 'queued')) OR (OLD.state = 'leased' AND NEW.state IN ('blocked', 'cancelling', 'failed', 'queued', 'starting')) OR (OLD.state = 'starting' AND NEW.state IN ('blocked', 'cancelling', 'failed', 'queued', 'running')) OR (OLD.state = 'running' AND NEW.state IN ('blocked', 'cancelling', 'failed', 'finishing', 'queued')) OR (OLD.state = 'finishing' AND NEW.state IN ('blocked', 'cancelling', 'failed', 'queued', 'succeeded')) OR (OLD.state = 'cancelling' AND NEW.state IN ('cancelled'))) THEN
    RAISE EXCEPTION 'job %: % cannot become %', OLD.id, OLD.state, NEW.state USING ERRCODE = '23514';
  END IF;
  IF NEW.attempt < OLD.attempt OR NEW.checkpoint_step < OLD.checkpoint_step
     OR NEW.event_seq < OLD.event_seq THEN
    RAISE EXCEPTION 'job %: attempt, checkpoint and events only go forward', OLD.id USING ERRCODE = '23514';
  END IF;
  IF OLD.state IN ('succeeded', 'failed', 'cancelled') AND (NEW.price_nano <> OLD.price_nano
     OR NEW.attempt <> OLD.attempt OR NEW.model_name <> OLD.model_name) THEN
    RAISE EXCEPTION 'job %: it has ended; what it cost and made is final', OLD.id USING ERRCODE = '23514';
  END IF;
  RETURN NEW;
END
"""
WAITS = """
BEGIN
  INSERT INTO training_tenantshare (id, tenant_id, max_running, gpu_class, weight, usage_ms, recent_ms, recent_at, waiting)
  VALUES (gen_random_uuid(), NEW.tenant_id, 1, 'cpu', 1, 0, 0, now(), true)
  ON CONFLICT (tenant_id) DO UPDATE SET waiting = true;
  RETURN NULL;
END
"""


class Migration(migrations.Migration):

    dependencies = [
        ('tenants', '0003_erased_tenants'),
        ('training', '0005_recent_use'),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name='job',
            name='training_job_state',
        ),
        migrations.AddField(
            model_name='job',
            name='blocked_by',
            field=models.CharField(blank=True, db_default='', default='', max_length=16),
        ),
        migrations.AddField(
            model_name='job',
            name='lane',
            field=models.CharField(db_default='standard', default='standard', max_length=12),
        ),
        migrations.AddField(
            model_name='job',
            name='likely_seconds',
            field=models.FloatField(db_default=60.0, default=60.0),
        ),
        migrations.AddField(
            model_name='job',
            name='pause_requested_at',
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='job',
            name='preempt_requested_at',
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='job',
            name='preemptions',
            field=models.PositiveSmallIntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name='job',
            name='priority',
            field=models.SmallIntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name='job',
            name='width',
            field=models.PositiveSmallIntegerField(db_default=1, default=1),
        ),
        migrations.AddField(
            model_name='slot',
            name='kept_for',
            field=models.UUIDField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='slot',
            name='kept_until',
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='tenantshare',
            name='guaranteed',
            field=models.PositiveIntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name='tenantshare',
            name='read_at',
            field=models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), default=kit.clock.now),
        ),
        migrations.AddField(
            model_name='tenantshare',
            name='waiting',
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AlterField(
            model_name='slot',
            name='job_id',
            field=models.UUIDField(blank=True, db_index=True, null=True),
        ),
        migrations.AddIndex(
            model_name='job',
            index=models.Index(condition=models.Q(('state', 'queued')), fields=['tenant', 'lane', 'width', '-priority', 'queued_at', 'id'], name='training_job_lines'),
        ),
        migrations.AddIndex(
            model_name='job',
            index=models.Index(condition=models.Q(('priority__gte', 100), ('state', 'queued')), fields=['tenant'], name='training_job_urgent'),
        ),
        migrations.AddConstraint(
            model_name='job',
            constraint=models.CheckConstraint(condition=models.Q(('state__in', ('validating_files', 'queued', 'blocked', 'leased', 'starting', 'running', 'finishing', 'cancelling', 'succeeded', 'failed', 'cancelled'))), name='training_job_state'),
        ),
        migrations.AddConstraint(
            model_name='job',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('blocked_by__in', ('paused', 'budget', 'hold')), ('state', 'blocked')), models.Q(models.Q(('state', 'blocked'), _negated=True), ('blocked_by', '')), _connector='OR'), name='training_job_blocked_has_a_reason'),
        ),
        migrations.AddConstraint(
            model_name='job',
            constraint=models.CheckConstraint(condition=models.Q(('lane__in', ('standard', 'preemptible', 'priority')), ('width__gte', 1)), name='training_job_line'),
        ),
        migrations.AddConstraint(
            model_name='slot',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('kept_for', None), ('kept_until', None)), models.Q(('kept_for__isnull', False), ('kept_until__isnull', False)), _connector='OR'), name='training_slot_kept'),
        ),
        migrations.RunSQL(
            f"CREATE OR REPLACE FUNCTION training_job_moves() RETURNS trigger LANGUAGE plpgsql AS $body${MOVES}$body$",
            migrations.RunSQL.noop,
        ),
        migrations.RunSQL(
            f"CREATE FUNCTION training_job_waits() RETURNS trigger LANGUAGE plpgsql AS $body${WAITS}$body$",
            "DROP FUNCTION training_job_waits()",
        ),
        migrations.RunSQL(
            "CREATE TRIGGER training_job_waits_new AFTER INSERT ON training_job "
            "FOR EACH ROW WHEN (NEW.state = 'queued') EXECUTE FUNCTION training_job_waits()",
            "DROP TRIGGER training_job_waits_new ON training_job",
        ),
        migrations.RunSQL(
            "CREATE TRIGGER training_job_waits AFTER UPDATE OF state ON training_job "
            "FOR EACH ROW WHEN (NEW.state = 'queued' AND OLD.state <> 'queued') EXECUTE FUNCTION training_job_waits()",
            "DROP TRIGGER training_job_waits ON training_job",
        ),
    ]
