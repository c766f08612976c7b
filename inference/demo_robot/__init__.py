"""A simulated robot arm that uses this system as a customer's robot would: through its public HTTP API, with a key."""
