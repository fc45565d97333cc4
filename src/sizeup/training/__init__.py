"""Training: memory, step time, the best plan, totals in days and dollars."""
