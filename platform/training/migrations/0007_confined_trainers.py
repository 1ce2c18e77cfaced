"""What a place runs on, why its worker took it out of service, and the crashes that count against it.

Every new column has a default in the database: workers of the version before may still be writing.
"""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('training', '0006_lines_and_room'),
    ]

    operations = [
        migrations.AddField(
            model_name='slot',
            name='crashed_jobs',
            field=models.JSONField(blank=True, db_default=[], default=list),
        ),
        migrations.AddField(
            model_name='slot',
            name='inventory',
            field=models.JSONField(blank=True, db_default={}, default=dict),
        ),
        migrations.AddField(
            model_name='slot',
            name='parked_because',
            field=models.CharField(blank=True, db_default='', default='', max_length=300),
        ),
    ]
