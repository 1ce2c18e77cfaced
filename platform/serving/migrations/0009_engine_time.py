import django.db.models.functions.datetime
import kit.clock
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('serving', '0008_request_explained'),
    ]

    operations = [
        migrations.AddField(
            model_name='dedicated',
            name='cold_since',
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='dedicated',
            name='cold_start_ms',
            field=models.PositiveBigIntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='dedicated',
            name='halted',
            field=models.CharField(blank=True, choices=[('spend_limit', 'A spend limit is reached'), ('suspended', 'The organisation is suspended')], db_default='', default='', max_length=16),
        ),
        migrations.AddField(
            model_name='dedicated',
            name='handed_to',
            field=models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), default=kit.clock.now),
        ),
        migrations.AddField(
            model_name='dedicated',
            name='looked_at',
            field=models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), default=kit.clock.now),
        ),
        migrations.AddField(
            model_name='dedicated',
            name='open_seconds',
            field=models.PositiveBigIntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name='dedicated',
            name='ready',
            field=models.PositiveSmallIntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name='dedicated',
            name='serves',
            field=models.BooleanField(db_default=True, default=True),
        ),
    ]
