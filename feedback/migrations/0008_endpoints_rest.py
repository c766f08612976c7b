from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("feedback", "0007_when_answers_were_reviewed")]

    operations = [
        migrations.AddField(
            model_name="webhookendpoint",
            name="silences",
            field=models.PositiveSmallIntegerField(
                default=0, editable=False, help_text="How often in a row nobody answered there."
            ),
        ),
        migrations.AddField(
            model_name="webhookendpoint",
            name="rests_until",
            field=models.DateTimeField(
                editable=False, help_text="Nothing is sent there before: nobody answered.", null=True
            ),
        ),
    ]
