"""Runs: planned into shards, worked off in one process or by any number of workers, then published."""
