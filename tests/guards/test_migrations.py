"""Migrations say what the models say."""

from django.core.management import call_command


def test_no_model_change_is_without_a_migration() -> None:
    assert call_command("makemigrations", check=True, dry_run=True, verbosity=0) is None
