"""The app of the service."""

from flask_redis_counter import create_app


def test_create_app_logs_for_the_whole_package():
    """The handler that Flask adds to app.logger formats the lines of all loggers below it."""
    assert create_app().logger.name == "flask_redis_counter"
