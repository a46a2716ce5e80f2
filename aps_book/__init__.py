"""The book of this project: its experiments, figures and records. ``aps_core`` is the library and knows nothing of it."""
