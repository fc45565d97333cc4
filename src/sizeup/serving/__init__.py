"""Serving: memory as each engine takes it, capacity, latency, the best plan, price."""
