from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0008_cached_tokens'),
    ]

    operations = [
        migrations.AddIndex(
            model_name='usageevent',
            index=models.Index(condition=models.Q(('kind', 'dedicated')), fields=['tenant', 'occurred_at'], name='billing_usage_engines'),
        ),
    ]
