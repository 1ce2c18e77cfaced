"""Refunds, credit notes and disputes have a mirror; every mirror says whether it is in the books."""

import django.db.models.deletion
import kit.clock
import kit.ids
from django.db import migrations, models

from tenants.isolation import IsolateTable


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0009_engine_time'),
        ('tenants', '0004_job_mail'),
    ]

    operations = [
        migrations.CreateModel(
            name='CreditNote',
            fields=[
                ('id', models.UUIDField(default=kit.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('booked_at', models.DateTimeField(null=True)),
                ('problem', models.CharField(blank=True, db_default='', default='', max_length=300)),
                ('stripe_id', models.CharField(max_length=255, unique=True)),
                ('invoice_id', models.CharField(max_length=255)),
                ('number', models.CharField(blank=True, max_length=100)),
                ('status', models.CharField(max_length=30)),
                ('currency', models.CharField(max_length=3)),
                ('amount', models.BigIntegerField()),
                ('reason', models.CharField(blank=True, max_length=60)),
                ('created_at', models.DateTimeField()),
                ('raw', models.JSONField(default=dict)),
                ('fetched_at', models.DateTimeField(default=kit.clock.now)),
            ],
        ),
        migrations.CreateModel(
            name='PaymentDispute',
            fields=[
                ('id', models.UUIDField(default=kit.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('booked_at', models.DateTimeField(null=True)),
                ('problem', models.CharField(blank=True, db_default='', default='', max_length=300)),
                ('stripe_id', models.CharField(max_length=255, unique=True)),
                ('status', models.CharField(max_length=30)),
                ('currency', models.CharField(max_length=3)),
                ('amount', models.BigIntegerField()),
                ('charge_id', models.CharField(blank=True, max_length=255)),
                ('reason', models.CharField(blank=True, max_length=60)),
                ('created_at', models.DateTimeField()),
                ('raw', models.JSONField(default=dict)),
                ('fetched_at', models.DateTimeField(default=kit.clock.now)),
            ],
        ),
        migrations.CreateModel(
            name='Refund',
            fields=[
                ('id', models.UUIDField(default=kit.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('booked_at', models.DateTimeField(null=True)),
                ('problem', models.CharField(blank=True, db_default='', default='', max_length=300)),
                ('stripe_id', models.CharField(max_length=255, unique=True)),
                ('status', models.CharField(max_length=30)),
                ('currency', models.CharField(max_length=3)),
                ('amount', models.BigIntegerField()),
                ('charge_id', models.CharField(blank=True, max_length=255)),
                ('reason', models.CharField(blank=True, max_length=60)),
                ('created_at', models.DateTimeField()),
                ('raw', models.JSONField(default=dict)),
                ('fetched_at', models.DateTimeField(default=kit.clock.now)),
            ],
        ),
        migrations.AddField(
            model_name='invoice',
            name='booked_at',
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name='invoice',
            name='problem',
            field=models.CharField(blank=True, db_default='', default='', max_length=300),
        ),
        migrations.AlterField(
            model_name='ledgerentry',
            name='account',
            field=models.CharField(choices=[('unbilled', 'Unbilled'), ('receivable', 'Receivable'), ('cash', 'Cash'), ('bank', 'Bank'), ('usage_revenue', 'Usage Revenue'), ('subscription_revenue', 'Subscription Revenue'), ('allowance', 'Allowance'), ('rounding', 'Rounding'), ('tax', 'Tax'), ('discount', 'Discount'), ('credit', 'Credit'), ('refund', 'Refund'), ('customer_balance', 'Customer Balance'), ('dispute', 'Dispute'), ('bad_debt', 'Bad Debt')], max_length=30),
        ),
        migrations.AddIndex(
            model_name='invoice',
            index=models.Index(condition=models.Q(('booked_at__isnull', True)), fields=['tenant'], name='billing_invoice_to_book'),
        ),
        migrations.AddField(
            model_name='creditnote',
            name='tenant',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.tenant'),
        ),
        migrations.AddField(
            model_name='paymentdispute',
            name='tenant',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.tenant'),
        ),
        migrations.AddField(
            model_name='refund',
            name='tenant',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.tenant'),
        ),
        migrations.AddIndex(
            model_name='creditnote',
            index=models.Index(fields=['tenant', 'invoice_id'], name='billing_note_invoice'),
        ),
        migrations.AddIndex(
            model_name='creditnote',
            index=models.Index(condition=models.Q(('booked_at__isnull', True)), fields=['tenant'], name='billing_note_to_book'),
        ),
        migrations.AddIndex(
            model_name='paymentdispute',
            index=models.Index(fields=['tenant', '-created_at'], name='billing_dispute_recent'),
        ),
        migrations.AddIndex(
            model_name='paymentdispute',
            index=models.Index(condition=models.Q(('booked_at__isnull', True)), fields=['tenant'], name='billing_dispute_to_book'),
        ),
        migrations.AddIndex(
            model_name='refund',
            index=models.Index(fields=['tenant', '-created_at'], name='billing_refund_recent'),
        ),
        migrations.AddIndex(
            model_name='refund',
            index=models.Index(condition=models.Q(('booked_at__isnull', True)), fields=['tenant'], name='billing_refund_to_book'),
        ),
        IsolateTable("billing_creditnote"),
        IsolateTable("billing_refund"),
        IsolateTable("billing_paymentdispute"),
    ]
