"""Data with sources - GPUs, instances, models, the bibliography - and the little code that reads it."""
