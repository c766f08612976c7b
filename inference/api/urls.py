from __future__ import annotations

from rest_framework.routers import SimpleRouter

from inference.api.views import InferenceResultViewSet, PolicyVersionViewSet

router = SimpleRouter(trailing_slash=False)
router.register("inference", InferenceResultViewSet, basename="inference")
router.register("models", PolicyVersionViewSet, basename="model")

urlpatterns = router.urls
