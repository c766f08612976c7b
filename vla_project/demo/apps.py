from django.apps import AppConfig


class DemoConfig(AppConfig):
    """The demo collection that `make run` starts with."""

    name = "vla_project.demo"
    label = "demo"
