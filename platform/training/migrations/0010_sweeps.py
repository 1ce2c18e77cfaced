"""Sweeps, and which jobs are their trials. The new columns of jobs may be empty: workers of the version before write on."""

import django.db.models.deletion
import kit.clock
import kit.ids
from django.db import migrations, models

from tenants.isolation import IsolateTable


class Migration(migrations.Migration):

    dependencies = [
        ('tenants', '0003_erased_tenants'),
        ('training', '0009_stops_and_mail'),
    ]

    operations = [
        migrations.AddField(
            model_name='job',
            name='sweep_number',
            field=models.PositiveSmallIntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='job',
            name='sweep_rung',
            field=models.PositiveSmallIntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='job',
            name='sweep_score',
            field=models.FloatField(blank=True, null=True),
        ),
        migrations.CreateModel(
            name='Sweep',
            fields=[
                ('id', models.UUIDField(default=kit.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('name', models.CharField(max_length=48)),
                ('task', models.CharField(max_length=40)),
                ('base', models.CharField(max_length=100)),
                ('strategy', models.CharField(max_length=12)),
                ('space', models.JSONField()),
                ('trials_asked', models.PositiveSmallIntegerField()),
                ('max_epochs', models.PositiveSmallIntegerField(blank=True, null=True)),
                ('seed', models.BigIntegerField()),
                ('parallel', models.PositiveSmallIntegerField()),
                ('columns', models.JSONField(default=dict)),
                ('lane', models.CharField(default='standard', max_length=12)),
                ('metadata', models.JSONField(null=True)),
                ('training_file_id', models.UUIDField(blank=True, null=True)),
                ('validation_file_id', models.UUIDField(blank=True, null=True)),
                ('max_price_nano', models.BigIntegerField(blank=True, null=True)),
                ('created_by', models.CharField(blank=True, max_length=254)),
                ('key_id', models.UUIDField(blank=True, null=True)),
                ('created_at', models.DateTimeField(default=kit.clock.now, editable=False)),
                ('dataset_version_id', models.UUIDField(blank=True, null=True)),
                ('settings', models.JSONField(default=list)),
                ('rungs', models.JSONField(default=list)),
                ('ceilings', models.JSONField(default=list)),
                ('estimate', models.JSONField(default=dict)),
                ('budget_nano', models.BigIntegerField(default=0)),
                ('state', models.CharField(choices=[('preparing', 'Preparing'), ('running', 'Running'), ('cancelling', 'Cancelling'), ('succeeded', 'Succeeded'), ('failed', 'Failed'), ('cancelled', 'Cancelled')], default='preparing', max_length=12)),
                ('ending', models.CharField(blank=True, max_length=12)),
                ('finished_at', models.DateTimeField(blank=True, null=True)),
                ('error_code', models.CharField(blank=True, max_length=60)),
                ('error_message', models.TextField(blank=True)),
                ('error_param', models.CharField(blank=True, max_length=60)),
                ('project', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.project')),
                ('tenant', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.tenant')),
                ('winner', models.ForeignKey(blank=True, db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='training.job')),
            ],
        ),
        migrations.AddField(
            model_name='job',
            name='sweep',
            field=models.ForeignKey(blank=True, db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='trials', to='training.sweep'),
        ),
        migrations.AddConstraint(
            model_name='job',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('sweep', None), ('sweep_number', None), ('sweep_rung', None)), models.Q(('sweep__isnull', False), ('sweep_number__isnull', False), ('sweep_rung__isnull', False)), _connector='OR'), name='training_job_trial'),
        ),
        migrations.AddConstraint(
            model_name='job',
            constraint=models.UniqueConstraint(condition=models.Q(('sweep__isnull', False)), fields=('tenant', 'sweep', 'sweep_rung', 'sweep_number'), name='training_job_trial_once'),
        ),
        migrations.AddIndex(
            model_name='sweep',
            index=models.Index(fields=['tenant', 'project', '-id'], name='training_sweep_project'),
        ),
        migrations.AddIndex(
            model_name='sweep',
            index=models.Index(condition=models.Q(('state__in', ['preparing', 'running', 'cancelling'])), fields=['created_at'], name='training_sweep_open'),
        ),
        migrations.AddConstraint(
            model_name='sweep',
            constraint=models.CheckConstraint(condition=models.Q(('state__in', ['preparing', 'running', 'cancelling', 'succeeded', 'failed', 'cancelled']), ('strategy__in', ('grid', 'random', 'halving')), ('ending__in', ['', 'complete', 'budget', 'spend_limit', 'refused'])), name='training_sweep_words'),
        ),
        migrations.AddConstraint(
            model_name='sweep',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('finished_at__isnull', False), ('state__in', ['succeeded', 'failed', 'cancelled'])), models.Q(models.Q(('state__in', ['succeeded', 'failed', 'cancelled']), _negated=True), ('finished_at', None), ('winner', None)), _connector='OR'), name='training_sweep_end_has_a_time'),
        ),
        migrations.AddConstraint(
            model_name='sweep',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('state', 'succeeded'), _negated=True), ('winner__isnull', False), _connector='OR'), name='training_sweep_success_has_a_winner'),
        ),
        migrations.AddConstraint(
            model_name='sweep',
            constraint=models.CheckConstraint(condition=models.Q(('budget_nano__gte', 0), models.Q(('max_price_nano', None), ('budget_nano__lte', models.F('max_price_nano')), _connector='OR')), name='training_sweep_budget'),
        ),
        IsolateTable(
            "training_sweep",
            refs={
                "project_id": "tenants_project",
                "winner_id": "training_job",
                "dataset_version_id": "data_datasetversion",
            },
        ),
        migrations.RunSQL(
            'ALTER TABLE "training_job" ADD CONSTRAINT "training_job_sweep_id_same_tenant" '
            'FOREIGN KEY ("tenant_id", "sweep_id") REFERENCES "training_sweep" ("tenant_id", "id") '
            "DEFERRABLE INITIALLY DEFERRED"
        ),
    ]
