"""Fixtures that every test may use. PostgreSQL and Redis come from tests/services.py."""
