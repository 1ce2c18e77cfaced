"""Engine time by when it was. Made beside the work that goes on: the table has a row a call."""

from django.db import migrations, models

from kit.indexes import IndexConcurrently


class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ('billing', '0008_cached_tokens'),
    ]

    operations = [
        IndexConcurrently(
            model_name='usageevent',
            index=models.Index(condition=models.Q(('kind', 'dedicated')), fields=['tenant', 'occurred_at'], include=['project_id', 'key_id', 'cost_nano'], name='billing_usage_engines'),
        ),
    ]
