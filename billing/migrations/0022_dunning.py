"""How far overdue invoices bring a tenant, what was told of it, and what staff allowed."""

import django.db.models.deletion
import kit.clock
import kit.ids
from django.db import migrations, models

from tenants.isolation import IsolateTable


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0021_findings'),
        ('tenants', '0004_job_mail'),
    ]

    operations = [
        migrations.AddField(
            model_name='tenantentitlement',
            name='step',
            field=models.CharField(blank=True, db_default='', default='', max_length=20),
        ),
        migrations.AddField(
            model_name='tenantentitlement',
            name='step_since',
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name='tenantentitlement',
            name='step_status',
            field=models.CharField(blank=True, db_default='', default='', max_length=20),
        ),
        migrations.CreateModel(
            name='DunningHold',
            fields=[
                ('id', models.UUIDField(default=kit.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('most', models.CharField(blank=True, choices=[('', ''), ('warned', 'warned'), ('no_jobs', 'no_jobs'), ('read_only', 'read_only'), ('suspended', 'suspended'), ('closed', 'closed')], max_length=20)),
                ('reason', models.CharField(max_length=300)),
                ('created_by', models.CharField(max_length=254)),
                ('created_at', models.DateTimeField(default=kit.clock.now, editable=False)),
                ('until', models.DateTimeField(null=True)),
                ('revoked_at', models.DateTimeField(null=True)),
                ('tenant', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.tenant')),
            ],
            options={
                'indexes': [models.Index(fields=['tenant', '-created_at'], name='billing_hold_recent')],
            },
        ),
        migrations.CreateModel(
            name='DunningNotice',
            fields=[
                ('id', models.UUIDField(default=kit.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('invoice', models.CharField(max_length=255)),
                ('step', models.CharField(max_length=20)),
                ('at', models.DateTimeField(default=kit.clock.now, editable=False)),
                ('tenant', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.tenant')),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('tenant', 'invoice', 'step'), name='billing_dunning_once')],
            },
        ),
        IsolateTable("billing_dunningnotice"),
        IsolateTable("billing_dunninghold"),
    ]
