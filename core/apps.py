from django.apps import AppConfig


class CoreConfig(AppConfig):
    name = "core"

    def ready(self) -> None:
        from core import admin_times, checks  # noqa: F401  # checks register themselves
        from core.logging import configure

        configure()
        admin_times.install()
