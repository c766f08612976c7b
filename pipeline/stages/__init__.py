"""The stages of a run: small pure functions over Arrow tables, one file each, in the order of ``choices.Stage``."""
