"""Benchmarks: ``python -m benchmarks`` runs them all, writes ``var/bench/*.json`` and the tables of docs/performance.md."""
