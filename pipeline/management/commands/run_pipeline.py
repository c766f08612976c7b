from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.dateparse import parse_datetime

from collections_app.models import Collection
from core.problems import Problem
from pipeline import services
from pipeline.models import PipelineRun
from pipeline.runs import runner

BAR_WIDTH = 32


class Command(BaseCommand):
    """Take a collection's records through the pipeline, here, and say what came of it."""

    help = "Runs the data pipeline over a collection in this process."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug")
        parser.add_argument("--since", help="Only records made at or after this time (RFC 3339).")
        parser.add_argument("--until", help="Only records made before this time (RFC 3339).")
        parser.add_argument("--no-embed", action="store_true", help="Do not embed what has no vector yet.")
        parser.add_argument("--resume", action="store_true", help="Go on with the newest unfinished run.")

    def handle(self, *args: Any, **options: Any) -> None:
        collection = Collection.objects.filter(slug=options["slug"]).first()
        if collection is None:
            raise CommandError(f"There is no collection {options['slug']}.")
        run = self._unfinished(collection) if options["resume"] else self._start(collection, options)
        try:
            run = runner.execute(run, report=self._show)
        except Exception as error:
            raise CommandError(f"The run failed: {error}") from error
        self.stdout.write("")
        for stage in run.stages.order_by("id"):
            counted = ", ".join(f"{name} {count}" for name, count in stage.counts.items())
            self.stdout.write(f"{stage.stage:<10} {stage.records_out:>9} records {stage.seconds:8.2f} s  {counted}")
        self.stdout.write(
            f"{run.records_in} read, {run.records_out} written, {run.records_quarantined} in quarantine\n"
            f"{runner.manifest_key(run)}"
        )

    def _start(self, collection: Collection, options: dict[str, Any]) -> PipelineRun:
        try:
            return services.start_run(
                collection=collection,
                window_start=_moment(options["since"]),
                window_end=_moment(options["until"]),
                trigger="command",
                options={"embed": not options["no_embed"]},
                enqueue=False,
            )
        except Problem as problem:
            raise CommandError("; ".join(error.detail for error in problem.errors) or problem.detail) from problem

    def _unfinished(self, collection: Collection) -> PipelineRun:
        run: PipelineRun | None = (
            PipelineRun.objects.unfinished().filter(collection=collection).order_by("-created_at").first()
        )
        if run is None:
            raise CommandError("There is no unfinished run.")
        return run

    def _show(self, run: PipelineRun) -> None:
        if sys.stderr.isatty():
            filled = round(run.progress * BAR_WIDTH)
            bar = "█" * filled + "░" * (BAR_WIDTH - filled)
            self.stderr.write(f"\r{bar} {run.progress:4.0%} {run.records_out} records", ending="")


def _moment(text: str | None) -> Any:
    if text is None:
        return None
    moment = parse_datetime(text)
    if moment is None or moment.tzinfo is None:
        raise CommandError(f"{text} is no time with an offset, such as 2026-11-22T10:00:00Z.")
    return moment
