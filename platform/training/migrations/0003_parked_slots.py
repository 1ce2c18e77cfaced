"""A place to train can be taken out of service by hand."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("training", "0002_dataset_versions")]

    operations = [
        migrations.AddField(
            model_name="slot", name="parked_at", field=models.DateTimeField(blank=True, null=True)
        ),
    ]
