"""Places and tenants have a class: jobs of plans without GPUs stay off machines that have one."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("training", "0003_parked_slots")]

    operations = [
        migrations.AddField(
            model_name="slot", name="gpu_class", field=models.CharField(default="cpu", max_length=16)
        ),
        migrations.AddField(
            model_name="tenantshare", name="gpu_class", field=models.CharField(default="cpu", max_length=16)
        ),
    ]
