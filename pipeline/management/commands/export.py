from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from collections_app.models import Collection
from core import object_store
from core.problems import Problem
from pipeline import services
from pipeline.choices import ExportFormat
from pipeline.exports import writer
from pipeline.storage import catalogue, layout


class Command(BaseCommand):
    """Write an export, here, and copy its files to a folder."""

    help = "Exports a collection as a versioned data set."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug")
        parser.add_argument("--format", required=True, choices=ExportFormat.values)
        parser.add_argument("--to", type=Path, required=True, help="A folder that does not exist or is empty.")
        parser.add_argument("--query", default="{}", help='Filters as JSON, e.g. {"outcome": "success"}.')

    def handle(self, *args: Any, **options: Any) -> None:
        folder: Path = options["to"]
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise CommandError(f"{folder} is not an empty folder.")
        collection = Collection.objects.filter(slug=options["slug"]).first()
        if collection is None:
            raise CommandError(f"There is no collection {options['slug']}.")
        try:
            export = services.start_export(
                collection=collection,
                export_format=options["format"],
                query=json.loads(options["query"]),
                enqueue=False,
            )
        except json.JSONDecodeError as error:
            raise CommandError(f"The query is not JSON: {error}") from error
        except Problem as problem:
            raise CommandError("; ".join(f"{e.pointer}: {e.detail}" for e in problem.errors)) from problem
        writer.write(export, self._tell)
        prefix = layout.export_folder(collection.slug, export.pk)
        files = {file.key: file for file in export.files.order_by("key")}
        targets = [folder / key.removeprefix(prefix) for key in files]
        with ThreadPoolExecutor(max_workers=catalogue.TRANSFERS) as pool:
            for file, target, _done in zip(files.values(), targets, pool.map(_copy, files, targets), strict=True):
                self.stdout.write(f"{file.sha256}  {target}")
        self.stdout.write(f"{export.records} records; export {export.pk}")

    def _tell(self, share: float) -> None:
        """Only a terminal is told."""
        if sys.stderr.isatty():
            self.stderr.write(f"\r{share:4.0%}", ending="" if share < 1 else "\n")


def _copy(key: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with object_store.open(key) as source, target.open("wb") as sink:
        while block := source.read(1 << 20):
            sink.write(block)
