"""Benchmarks: ``python -m benchmarks`` runs all, and writes the tables of docs/performance.md."""
