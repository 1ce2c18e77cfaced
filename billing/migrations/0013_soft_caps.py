"""From a share of its spend limit on an organisation may have its calls slowed."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0012_wallet'),
    ]

    operations = [
        migrations.AddField(
            model_name='spendlimit',
            name='slow_from_percent',
            field=models.PositiveSmallIntegerField(null=True),
        ),
    ]
