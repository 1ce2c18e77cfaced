"""Usage can be told to a meter at Stripe."""

import django.db.models.deletion
import kit.clock
import kit.ids
from django.db import migrations, models

from tenants.isolation import IsolateTable


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0040_invoice_details'),
        ('tenants', '0004_job_mail'),
    ]

    operations = [
        migrations.CreateModel(
            name='BillSink',
            fields=[
                ('id', models.UUIDField(default=kit.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('period', models.DateField()),
                ('sink', models.CharField(choices=[('invoice_items', 'Invoice Items'), ('meter_events', 'Meter Events')], max_length=20)),
                ('decided_at', models.DateTimeField(default=kit.clock.now, editable=False)),
                ('tenant', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.tenant')),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('tenant', 'period'), name='billing_sink_once')],
            },
        ),
        migrations.CreateModel(
            name='MeterReading',
            fields=[
                ('id', models.UUIDField(default=kit.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('period', models.DateField()),
                ('hour', models.DateTimeField()),
                ('revision', models.PositiveIntegerField(default=0)),
                ('units', models.BigIntegerField()),
                ('identifier', models.CharField(max_length=100)),
                ('subscription_id', models.CharField(blank=True, max_length=255)),
                ('at', models.DateTimeField(null=True)),
                ('state', models.CharField(choices=[('waiting', 'Waiting'), ('sent', 'Sent'), ('billed', 'Billed'), ('lost', 'Lost')], default='waiting', max_length=10)),
                ('error', models.CharField(blank=True, max_length=300)),
                ('refused', models.BooleanField(default=False)),
                ('invoice_id', models.CharField(blank=True, max_length=255)),
                ('created_at', models.DateTimeField(default=kit.clock.now, editable=False)),
                ('sent_at', models.DateTimeField(null=True)),
                ('settled_at', models.DateTimeField(null=True)),
                ('tenant', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.tenant')),
            ],
            options={
                'indexes': [models.Index(condition=models.Q(('state__in', ['waiting', 'sent'])), fields=['tenant', 'at'], name='billing_reading_open')],
                'constraints': [models.UniqueConstraint(fields=('tenant', 'hour', 'revision'), name='billing_reading_once'), models.UniqueConstraint(fields=('identifier',), name='billing_reading_identifier'), models.CheckConstraint(condition=models.Q(('units__gt', 0)), name='billing_reading_positive')],
            },
        ),
        migrations.AlterField(
            model_name='catalogueentry',
            name='part',
            field=models.CharField(choices=[('plan', 'Plan'), ('seat', 'Seat'), ('usage', 'Usage')], default='plan', max_length=10),
        ),
        IsolateTable("billing_billsink"),
        IsolateTable("billing_meterreading"),
    ]
