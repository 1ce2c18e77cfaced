"""What a job made is as final as what it cost; an event that was told stays as it was told."""

from django.db import migrations

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
     OR NEW.attempt <> OLD.attempt OR NEW.model_name <> OLD.model_name
     OR NEW.trained_tokens <> OLD.trained_tokens OR NEW.error_code <> OLD.error_code
     OR NEW.model_version_id IS DISTINCT FROM OLD.model_version_id
     OR NEW.result_file_id IS DISTINCT FROM OLD.result_file_id) THEN
    RAISE EXCEPTION 'job %: it has ended; what it cost and made is final', OLD.id USING ERRCODE = '23514';
  END IF;
  RETURN NEW;
END
"""
TOLD = "BEGIN RAISE EXCEPTION 'an event is told once and stays so' USING ERRCODE = '23514'; END"


class Migration(migrations.Migration):

    dependencies = [
        ('training', '0014_sweep_losers_moment'),
    ]

    operations = [
        migrations.RunSQL(
            f"CREATE OR REPLACE FUNCTION training_job_moves() RETURNS trigger LANGUAGE plpgsql AS $body${MOVES}$body$",
            migrations.RunSQL.noop,
        ),
        migrations.RunSQL(
            f"CREATE FUNCTION training_event_stays() RETURNS trigger LANGUAGE plpgsql AS $body${TOLD}$body$",
            "DROP FUNCTION training_event_stays()",
        ),
        migrations.RunSQL(
            "CREATE TRIGGER training_event_stays BEFORE UPDATE ON training_jobevent "
            "FOR EACH ROW EXECUTE FUNCTION training_event_stays()",
            "DROP TRIGGER training_event_stays ON training_jobevent",
        ),
    ]
