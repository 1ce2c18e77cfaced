"""Seats beyond a plan's own are counted in what a subscription is worth."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [("billing", "0029_bill_shares")]

    operations = [
        migrations.AddField(
            model_name="subscriptionchange",
            name="extra_seats",
            field=models.PositiveIntegerField(default=0, db_default=0),
        ),
        migrations.AddField(
            model_name="subscriptionmonth",
            name="extra_seats",
            field=models.PositiveIntegerField(default=0, db_default=0),
        ),
    ]
