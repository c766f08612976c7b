from django.apps import AppConfig


class InferenceConfig(AppConfig):
    name = "inference"
    verbose_name = "Inference"

    def ready(self) -> None:
        from core import health
        from inference.engine.registry import worker_health

        health.register("inference worker", worker_health)
