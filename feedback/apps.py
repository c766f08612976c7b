from django.apps import AppConfig


class FeedbackConfig(AppConfig):
    name = "feedback"
    verbose_name = "Feedback"

    def ready(self) -> None:
        from collections_app.signals import episode_changed
        from feedback import receivers
        from inference.signals import results_recorded

        results_recorded.connect(receivers.make_tasks_of_new_results)
        episode_changed.connect(receivers.ask_about_failure)
