import django.db.models.functions.text
from django.db import migrations, models

import kit.clock
import kit.ids


class Migration(migrations.Migration):

    dependencies = [
        ('ops', '0003_alert_told_at'),
    ]

    operations = [
        migrations.CreateModel(
            name='Scenario',
            fields=[
                ('id', models.UUIDField(default=kit.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('name', models.CharField(max_length=80)),
                ('inputs', models.JSONField()),
                ('created_by', models.CharField(max_length=254)),
                ('created_at', models.DateTimeField(default=kit.clock.now, editable=False)),
            ],
            options={
                'constraints': [models.UniqueConstraint(django.db.models.functions.text.Lower('name'), name='ops_scenario_name_once')],
            },
        ),
    ]
