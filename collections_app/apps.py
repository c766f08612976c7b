from django.apps import AppConfig


class CollectionsAppConfig(AppConfig):
    name = "collections_app"
    verbose_name = "Collections"

    def ready(self) -> None:
        from accounts.signals import api_key_rotated
        from collections_app.receivers import copy_grants

        api_key_rotated.connect(copy_grants, dispatch_uid="copy grants")
