from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('tenants', '0003_erased_tenants'),
    ]

    operations = [
        migrations.AddField(
            model_name='user',
            name='job_mail',
            field=models.BooleanField(db_default=True, default=True, verbose_name='e-mail about jobs'),
        ),
    ]
