"""The oracle: what transformers itself builds, counted and kept as data in ``tests/oracle``."""
