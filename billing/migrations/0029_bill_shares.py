"""Bills remember which rated lines they hold: a trigger writes it as a month closes."""

import django.db.models.deletion
import kit.clock
import kit.ids
from django.db import migrations, models

from tenants.isolation import AppendOnly, IsolateTable

# The quantity is counted as `ledger.lines.bill_lines` counts it; a test compares. The bill is the one being closed: a
# tenant's months are closed one after another, under its ledger lock, and the row of the close is written first.
SHARE = """
CREATE FUNCTION billing_share_bill() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO billing_billlineshare (id, tenant_id, close_id, rated_line_id, quantity, amount_nano, at)
  SELECT gen_random_uuid(), NEW.tenant_id, closed.id, NEW.id,
    CASE WHEN OLD.invoiced_nano <> 0 THEN 0
      WHEN NEW.kind = 'dedicated' THEN NEW.gpu_ms / 1000
      WHEN NEW.kind = 'storage' THEN NEW.byte_hours
      ELSE NEW.input_tokens + NEW.output_tokens END,
    NEW.invoiced_nano - OLD.invoiced_nano, clock_timestamp()
  FROM billing_periodclose AS closed WHERE closed.tenant_id = NEW.tenant_id
  ORDER BY closed.closed_at DESC, closed.id DESC LIMIT 1;
  RETURN NULL;
END $$;
CREATE TRIGGER billing_rated_billed AFTER UPDATE OF invoiced_nano ON billing_ratedline
  FOR EACH ROW WHEN (OLD.invoiced_nano <> NEW.invoiced_nano) EXECUTE FUNCTION billing_share_bill();
"""


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0027_catalogue_ways'),
        ('tenants', '0004_job_mail'),
    ]

    operations = [
        migrations.CreateModel(
            name='BillLineShare',
            fields=[
                ('id', models.UUIDField(default=kit.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('quantity', models.BigIntegerField()),
                ('amount_nano', models.BigIntegerField()),
                ('at', models.DateTimeField(default=kit.clock.now)),
                ('close', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='billing.periodclose')),
                ('rated_line', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='billing.ratedline')),
                ('tenant', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.tenant')),
            ],
            options={
                'indexes': [models.Index(fields=['tenant', 'close'], name='billing_share_close'), models.Index(fields=['tenant', 'rated_line'], name='billing_share_line')],
            },
        ),
        IsolateTable(
            "billing_billlineshare",
            refs={"close_id": "billing_periodclose", "rated_line_id": "billing_ratedline"},
        ),
        AppendOnly("billing_billlineshare"),
        migrations.RunSQL(SHARE),
    ]
