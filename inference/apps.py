from django.apps import AppConfig


class InferenceConfig(AppConfig):
    name = "inference"
    verbose_name = "Inference"

    def ready(self) -> None:
        from prometheus_client import REGISTRY

        from core import health
        from inference.engine.accelerators import AcceleratorCollector
        from inference.engine.registry import worker_health

        health.register("inference worker", worker_health)
        REGISTRY.register(AcceleratorCollector())
