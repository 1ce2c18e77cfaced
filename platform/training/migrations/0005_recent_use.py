"""Turns in the queue go by recent machine time; an attempt knows what its start was charged with."""

from django.db import migrations, models

import kit.clock


class Migration(migrations.Migration):
    dependencies = [("training", "0004_gpu_classes")]

    operations = [
        migrations.AddField(model_name="tenantshare", name="recent_ms", field=models.FloatField(default=0.0)),
        migrations.AddField(
            model_name="tenantshare", name="recent_at", field=models.DateTimeField(default=kit.clock.now)
        ),
        migrations.AddField(model_name="attempt", name="charged_ms", field=models.BigIntegerField(default=0)),
    ]
