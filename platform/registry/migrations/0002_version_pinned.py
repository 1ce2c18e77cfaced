"""Versions that staff keep in the engines' memory while they are deployed."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('registry', '0001_initial'),
    ]

    operations = [
        migrations.AddField(
            model_name='modelversion',
            name='pinned',
            field=models.BooleanField(db_default=False, default=False),
        ),
    ]
