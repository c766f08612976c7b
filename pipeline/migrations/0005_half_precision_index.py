"""The cosine index holds half-precision vectors: half the memory, and the table's full precision orders what it finds."""

from __future__ import annotations

import django.contrib.postgres.indexes
import django.db.models.functions.comparison
import pgvector.django
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("pipeline", "0004_check_images_stage")]

    operations = [
        migrations.RemoveIndex(model_name="embedding", name="embedding_cosine"),
        migrations.AddIndex(
            model_name="embedding",
            index=pgvector.django.HnswIndex(
                django.contrib.postgres.indexes.OpClass(
                    django.db.models.functions.comparison.Cast(
                        "embedding", pgvector.django.HalfVectorField(dimensions=384)
                    ),
                    name="halfvec_cosine_ops",
                ),
                name="embedding_cosine",
                m=16,
                ef_construction=64,
            ),
        ),
    ]
