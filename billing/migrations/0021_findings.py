"""Differences between our books and Stripe are kept, with how they were settled."""

import kit.clock
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0020_stripe_commands'),
    ]

    operations = [
        migrations.CreateModel(
            name='BillingFinding',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('kind', models.CharField(max_length=80)),
                ('object', models.CharField(max_length=300)),
                ('organisation', models.UUIDField(null=True)),
                ('expected', models.CharField(max_length=500)),
                ('found', models.CharField(max_length=500)),
                ('first_seen', models.DateTimeField(default=kit.clock.now)),
                ('last_seen', models.DateTimeField(default=kit.clock.now)),
                ('resolved_at', models.DateTimeField(null=True)),
                ('resolved_by', models.CharField(blank=True, max_length=254)),
                ('resolution', models.CharField(blank=True, max_length=300)),
            ],
            options={
                'indexes': [models.Index(fields=['-last_seen'], name='billing_finding_recent')],
                'constraints': [models.UniqueConstraint(condition=models.Q(('resolved_at', None)), fields=('kind', 'object'), name='billing_finding_open')],
            },
        ),
    ]
