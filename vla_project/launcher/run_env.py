"""`VAR_DIR/run.env`: the addresses and secrets with which `manage.py` beside a running system finds it."""

from __future__ import annotations

from collections.abc import Mapping

from vla_project.launcher.environment import LaunchOptions, as_env_file
from vla_project.launcher.generated_secrets import generated_secrets
from vla_project.launcher.private_file import write_private

# Noted where the user set them, so that a command beside us uses the same bucket, but never invented.
_WHERE_SET = ("S3_ENDPOINT_URL", "S3_BUCKET", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "DEMO", "HOST")


def write_run_env(options: LaunchOptions, service_urls: Mapping[str, str]) -> dict[str, str]:
    """Write the file and give what it says.

    :param service_urls: ``DATABASE_URL`` and ``REDIS_URL`` of the embedded services; those that are not among them are
        the user's own
    """
    defaults = {"DJANGO_SETTINGS_MODULE": "vla_project.settings.local", **generated_secrets(options.var_dir)}
    names = (*defaults, *_WHERE_SET, "DATABASE_URL", "REDIS_URL")
    values = {
        **defaults,
        **{name: options.variables[name] for name in names if name in options.variables},
        **service_urls,
        "VAR_DIR": str(options.var_dir),
        "PORT": str(options.port),
    }
    write_private(options.var_dir / "run.env", as_env_file(values))
    return values
