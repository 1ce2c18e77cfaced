"""Neither serving role may change the books, by right as well as by trigger. New tables are made so by `AppendOnly`."""

from django.db import migrations

from tenants.isolation import TAKE_RIGHTS


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0010_books_of_invoices'),
    ]

    operations = [
        migrations.RunSQL(TAKE_RIGHTS, migrations.RunSQL.noop),
    ]
