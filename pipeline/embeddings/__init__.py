"""Embeddings: the meaning of instructions and comments as vectors, and the search over them."""
