"""A plan version has a price for each interval, currency and part."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0026_machine_hours'),
    ]

    operations = [
        migrations.AddField(
            model_name='catalogueentry', name='currency', field=models.CharField(default='usd', max_length=3)
        ),
        migrations.AddField(
            model_name='catalogueentry', name='interval', field=models.CharField(default='month', max_length=10)
        ),
        migrations.AddField(
            model_name='catalogueentry',
            name='part',
            field=models.CharField(choices=[('plan', 'Plan'), ('seat', 'Seat')], default='plan', max_length=10),
        ),
        migrations.RemoveConstraint(model_name='catalogueentry', name='billing_catalogue_once'),
        migrations.AddConstraint(
            model_name='catalogueentry',
            constraint=models.UniqueConstraint(
                fields=('plan', 'version', 'currency', 'interval', 'part'), name='billing_catalogue_once'
            ),
        ),
    ]
