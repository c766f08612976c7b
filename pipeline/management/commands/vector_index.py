from __future__ import annotations

import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts import audit
from pipeline.embeddings import index_health, index_trial, vector_index
from pipeline.embeddings.index_trial import Outcome
from pipeline.embeddings.models import EMBEDDING_DIMENSIONS, Embedding
from pipeline.embeddings.vector_index import HNSW, IVFFLAT, Shape


class Command(BaseCommand):
    """Measure another vector index on a sample, show what it would gain and lose, and build it if that is accepted."""

    help = "Replaces the index that searches by meaning use, after showing what the new one would find and cost."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--method", choices=[HNSW, IVFFLAT], default=HNSW)
        parser.add_argument(
            "--dimensions",
            type=int,
            default=EMBEDDING_DIMENSIONS,
            help="Index only so many first dimensions; the whole vectors order what they find.",
        )
        parser.add_argument("--sample", type=int, default=20_000, help="How many vectors the trial is made with.")
        parser.add_argument("--queries", type=int, default=100)
        parser.add_argument("--memory", default="512MB", help="PostgreSQL's maintenance_work_mem for the build.")
        parser.add_argument("--yes", action="store_true", help="Do not ask.")

    def handle(self, *args: Any, **options: Any) -> None:
        if not 8 <= options["dimensions"] <= EMBEDDING_DIMENSIONS:
            raise CommandError(f"Between 8 and {EMBEDDING_DIMENSIONS} dimensions, please.")
        now = vector_index.in_place()
        wanted = (options["method"], options["dimensions"])
        outcomes = index_trial.compare(
            [(now.method, now.dimensions), wanted], sample=options["sample"], queries=options["queries"]
        )
        if not outcomes:
            raise CommandError("There are too few vectors to measure anything.")
        rows = Embedding.objects.count()
        self._show(outcomes, rows)
        shape = Shape.for_rows(*wanted, rows)
        if not options["yes"] and input(f"Build {shape} over {rows} rows? Type yes: ") != "yes":
            raise CommandError("Nothing was changed.")
        vector_index.build(shape, memory=options["memory"])
        time.sleep(vector_index.KNOWN_SECONDS)  # until every process asks the new index
        vector_index.take_over()
        health = index_health.measure()
        changes = {"index": [str(now), str(shape)], "recall": [outcomes[0].recall, outcomes[1].recall]}
        audit.record("vector_index.replaced", health, changes=changes)
        self.stdout.write(f"{shape}: {health.bytes / 1e6:.0f} MB.")

    def _show(self, outcomes: list[Outcome], rows: int) -> None:
        self.stdout.write(f"Measured with {outcomes[0].rows} of {rows} vectors, against exact search:")
        for name, outcome in zip(("in place", "proposed"), outcomes, strict=True):
            self.stdout.write(
                f"  {name}: {outcome.shape}: recall@10 {outcome.recall:.3f}, p95 {outcome.p95_ms:.1f} ms, "
                f"{outcome.bytes_per_row:.0f} bytes a vector ({outcome.bytes_per_row * rows / 1e6:.0f} MB for all), "
                f"built in {outcome.build_seconds:.1f} s"
            )
        self.stdout.write(f"  recall changes by {outcomes[1].recall - outcomes[0].recall:+.3f}")
