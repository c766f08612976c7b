"""Backups of the database to object storage, and the way back."""
