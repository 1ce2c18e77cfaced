"""What is asked of Stripe is written down first."""

import django.db.models.deletion
import kit.clock
import kit.ids
from django.db import migrations, models

from tenants.isolation import IsolateTable


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0014_rerating'),
        ('tenants', '0004_job_mail'),
    ]

    operations = [
        migrations.CreateModel(
            name='StripeCommand',
            fields=[
                ('id', models.UUIDField(default=kit.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('operation', models.CharField(max_length=40)),
                ('once', models.CharField(max_length=200, null=True)),
                ('params', models.JSONField(default=dict)),
                ('request', models.JSONField(null=True)),
                ('key', models.CharField(max_length=200)),
                ('round', models.PositiveIntegerField(default=1)),
                ('state', models.CharField(choices=[('waiting', 'Waiting'), ('done', 'Done'), ('refused', 'Refused'), ('doubt', 'Doubt'), ('dropped', 'Dropped')], default='waiting', max_length=10)),
                ('attempts', models.PositiveIntegerField(default=0)),
                ('error', models.CharField(blank=True, max_length=1000)),
                ('error_code', models.CharField(blank=True, max_length=100)),
                ('answer', models.JSONField(null=True)),
                ('created_at', models.DateTimeField(default=kit.clock.now, editable=False)),
                ('first_sent_at', models.DateTimeField(null=True)),
                ('due_at', models.DateTimeField(default=kit.clock.now)),
                ('claimed_until', models.DateTimeField(null=True)),
                ('done_at', models.DateTimeField(null=True)),
                ('tenant', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.tenant')),
            ],
            options={
                'indexes': [models.Index(condition=models.Q(('state', 'waiting')), fields=['due_at'], name='billing_command_due'), models.Index(fields=['tenant', 'created_at'], name='billing_command_order')],
                'constraints': [models.UniqueConstraint(fields=('tenant', 'operation', 'once'), name='billing_command_once'), models.UniqueConstraint(fields=('key',), name='billing_command_key')],
            },
        ),
        IsolateTable("billing_stripecommand"),
    ]
