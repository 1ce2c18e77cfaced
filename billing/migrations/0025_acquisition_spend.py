"""What was spent to win customers."""

from django.db import migrations, models

import kit.clock
import kit.ids
from tenants.isolation import AppendOnly


class Migration(migrations.Migration):

    dependencies = [("billing", "0024_subscription_history")]

    operations = [
        migrations.CreateModel(
            name="AcquisitionSpend",
            fields=[
                ("id", models.UUIDField(default=kit.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ("month", models.DateField()),
                ("channel", models.CharField(max_length=40)),
                ("amount_nano", models.BigIntegerField()),
                ("entered_by", models.CharField(max_length=254)),
                ("entered_at", models.DateTimeField(default=kit.clock.now, editable=False)),
            ],
            options={
                "indexes": [models.Index(fields=["month"], name="billing_spend_month")],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("amount_nano", 0), _negated=True), name="billing_spend_not_zero"
                    )
                ],
            },
        ),
        AppendOnly("billing_acquisitionspend"),
    ]
