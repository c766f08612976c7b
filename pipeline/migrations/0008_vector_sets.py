"""Which model's vectors serve a collection. Rows that exist are served by the model that made most of them."""

from __future__ import annotations

import django.db.models.deletion
from django.db import migrations, models

FIRST_SETS = """
INSERT INTO vector_sets (collection_id, model_name, model_revision, dimensions, folder, state, made, wanted, created_at,
                         served_at, retired_at)
SELECT collection_id, model_name, model_revision, 384, '', CASE place WHEN 1 THEN 'serving' ELSE 'retired' END,
       rows, rows, now(), CASE place WHEN 1 THEN now() END, CASE place WHEN 1 THEN NULL ELSE now() END
FROM (SELECT collection_id, model_name, model_revision, count(*) AS rows,
             row_number() OVER (PARTITION BY collection_id ORDER BY count(*) DESC, max(created_at) DESC) AS place
      FROM embeddings GROUP BY collection_id, model_name, model_revision) AS known
"""


class Migration(migrations.Migration):
    dependencies = [("collections_app", "0001_initial"), ("pipeline", "0007_shard_summary")]

    operations = [
        migrations.CreateModel(
            name="VectorSet",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("model_name", models.CharField(max_length=100)),
                ("model_revision", models.CharField(max_length=64)),
                ("dimensions", models.PositiveSmallIntegerField(default=384)),
                (
                    "folder",
                    models.CharField(
                        blank=True,
                        help_text="Where the weights lie; empty: in the installed package.",
                        max_length=512,
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("building", "Being made"),
                            ("serving", "Serving searches"),
                            ("retired", "To be removed"),
                        ],
                        max_length=8,
                    ),
                ),
                (
                    "made",
                    models.PositiveBigIntegerField(
                        default=0, help_text="While it is being made: how many rows there are."
                    ),
                ),
                (
                    "wanted",
                    models.PositiveBigIntegerField(default=0, help_text="How many the set that serves has."),
                ),
                (
                    "copied_to",
                    models.UUIDField(
                        help_text="The last row of the set that serves that has its like here.", null=True
                    ),
                ),
                ("heartbeat_at", models.DateTimeField(null=True)),
                ("served_at", models.DateTimeField(null=True)),
                ("retired_at", models.DateTimeField(null=True)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                (
                    "collection",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="vector_sets",
                        to="collections_app.collection",
                    ),
                ),
            ],
            options={"db_table": "vector_sets", "ordering": ["collection", "-id"]},
        ),
        migrations.AddConstraint(
            model_name="vectorset",
            constraint=models.UniqueConstraint(
                fields=("collection", "model_name", "model_revision"), name="vector_set_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="vectorset",
            constraint=models.UniqueConstraint(
                condition=models.Q(("state", "serving")), fields=("collection",), name="one_vector_set_serves"
            ),
        ),
        migrations.AddConstraint(
            model_name="vectorset",
            constraint=models.CheckConstraint(
                condition=models.Q(("state__in", ["building", "serving", "retired"])), name="vector_set_state_known"
            ),
        ),
        migrations.RunSQL(FIRST_SETS, migrations.RunSQL.noop),
    ]
