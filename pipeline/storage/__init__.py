"""Where objects lie, the catalogue of them, and how long they are kept."""
