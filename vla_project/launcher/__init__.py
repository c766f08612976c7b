"""`make run`: starts the services and processes of the whole system, watches them, and stops them in order.

The package needs only the standard library, psycopg and redis-py, and may be used without Django:

>>> with EmbeddedPostgres(folder, port=15432) as postgres: ...      # doctest: +SKIP

docs/running.md describes what a user sees; docs/decisions/0003-own-launcher.md says why it exists.
"""

from vla_project.launcher.exceptions import LauncherError
from vla_project.launcher.postgres import EmbeddedPostgres
from vla_project.launcher.redis import EmbeddedRedis

__all__ = ["EmbeddedPostgres", "EmbeddedRedis", "LauncherError"]
