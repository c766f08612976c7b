"""News for other programs: written with the change that it tells of, signed, and sent until somebody takes it."""
