"""Benchmarks of a running server, driven over real WebSockets from another process."""
