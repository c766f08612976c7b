from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "accounts"
    verbose_name = "Accounts"

    def ready(self) -> None:
        import accounts.api.schema  # noqa: F401 - registers itself with drf-spectacular
        from accounts import receivers

        receivers.connect()
