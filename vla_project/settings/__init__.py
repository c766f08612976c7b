"""Settings: `local` (make run), `production` (refuses to start on a missing or default secret), `test`."""
