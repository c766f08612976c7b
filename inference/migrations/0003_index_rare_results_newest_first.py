"""The admin asks for unsafe and for cached results of every collection, newest first: both are rare among millions."""

from __future__ import annotations

from django.db import migrations, models
from django.db.models import Q

FORWARD = """
CREATE INDEX result_verdict ON inference_results (safety_verdict, created_at DESC, id DESC)
    WHERE safety_verdict <> 'pass';
CREATE INDEX result_cached ON inference_results (created_at DESC, id DESC) WHERE cached;
"""
BACKWARD = "DROP INDEX result_verdict; DROP INDEX result_cached;"


class Migration(migrations.Migration):
    dependencies = [("inference", "0002_partition_results_by_month")]

    operations = [
        # On a partitioned table indexes are made by hand, as in 0002.
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunSQL(FORWARD, BACKWARD)],
            state_operations=[
                migrations.AddIndex(
                    "inferenceresult",
                    models.Index(
                        fields=["safety_verdict", "-created_at", "-id"],
                        name="result_verdict",
                        condition=~Q(safety_verdict="pass"),
                    ),
                ),
                migrations.AddIndex(
                    "inferenceresult",
                    models.Index(fields=["-created_at", "-id"], name="result_cached", condition=Q(cached=True)),
                ),
            ],
        ),
    ]
