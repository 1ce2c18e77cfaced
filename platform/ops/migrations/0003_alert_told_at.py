from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('ops', '0002_alerts'),
    ]

    operations = [
        migrations.AddField(
            model_name='alert',
            name='told_at',
            field=models.DateTimeField(blank=True, null=True),
        ),
    ]
