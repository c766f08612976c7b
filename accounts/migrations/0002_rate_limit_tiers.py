from django.db import migrations

# Name, requests per second, burst, daily quota; None is no limit.
TIERS = [("standard", 50, 100, None), ("high", 500, 1000, None), ("unlimited", None, None, None)]


def create_tiers(apps, _schema_editor):
    tier = apps.get_model("accounts", "RateLimitTier")
    for name, rate, burst, quota in TIERS:
        tier.objects.get_or_create(name=name, defaults={"rate": rate, "burst": burst, "daily_quota": quota})


class Migration(migrations.Migration):
    dependencies = [("accounts", "0001_initial")]

    operations = [migrations.RunPython(create_tiers, migrations.RunPython.noop)]
