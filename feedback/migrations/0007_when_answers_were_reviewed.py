from django.conf import settings
from django.db import migrations, models

# Answers that a reviewer changed are few; what was only accepted needs no date.
REVIEWED_AT = """
UPDATE feedback SET reviewed_at = (SELECT max(reviews.created_at) FROM reviews WHERE reviews.feedback_id = feedback.id)
WHERE review_state IN ('fixed', 'overruled')
"""


class Migration(migrations.Migration):
    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
        ("feedback", "0006_rules_similar_to_a_result"),
    ]

    operations = [
        migrations.AddField(
            model_name="feedback",
            name="reviewed_at",
            field=models.DateTimeField(
                blank=True, help_text="When a reviewer said last what becomes of it.", null=True
            ),
        ),
        migrations.RunSQL(REVIEWED_AT, migrations.RunSQL.noop),
        migrations.AddIndex(
            model_name="feedback",
            index=models.Index(
                condition=models.Q(("current", True), ("review_state__in", ["fixed", "overruled"])),
                fields=["annotator", "-reviewed_at"],
                name="feedback_changed",
            ),
        ),
    ]
