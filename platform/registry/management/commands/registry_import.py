"""`manage.py registry_import FOLDER --project proj_…`: a model that was trained elsewhere, as a project's own.

FOLDER is what transformers saved of a `BertForSequenceClassification`, `BertForTokenClassification` or
`BertForQuestionAnswering`, what it or sentence-transformers saved of a `BertModel` for embeddings (safetensors and JSON
only), or an artefact folder of ours. Deploy the model it prints.
"""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management import CommandError
from django.core.management.base import BaseCommand

from inference.sentences import POOLINGS
from inference.tasks import LABELS
from kit.errors import ApiError
from kit.ids import parse_id
from registry.importing import model_import
from tenants.models import Project
from tenants.scope import ops_scope


class Command(BaseCommand):
    """Import a model."""

    help = "Register a model that was trained elsewhere: a folder of safetensors and JSON."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """What, where to, and what the folder does not say."""
        parser.add_argument("folder", type=Path)
        parser.add_argument("--project", required=True, help="proj_…, whose model it becomes")
        parser.add_argument("--base", default="", help="the base whose encoder it was trained on")
        parser.add_argument("--task", default="", choices=["", *LABELS], help="needed for a head with one label")
        parser.add_argument("--suffix", default="imported", help="a part of the model's name")
        parser.add_argument("--max-length", type=int, default=0, help="tokens it reads; what its tokenizer says")
        parser.add_argument(
            "--pooling", default="", choices=["", *POOLINGS], help="needed for a BertModel without a modules.json"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Import, and print the model's name."""
        try:
            with ops_scope("import a model"):
                project = Project.ops.filter(pk=parse_id("proj_", options["project"])).first()
            if project is None:
                raise CommandError(f"There is no project {options['project']}.")
            version = model_import(
                project=project, folder=options["folder"], base=options["base"], task=options["task"],
                suffix=options["suffix"], max_length=options["max_length"], pooling=options["pooling"],
            )  # fmt: skip
        except ApiError as error:
            raise CommandError(error.message) from error
        self.stdout.write(version.model.name)
