"""The protocol's rules as plain Python: no socket, no clock, no randomness, no engine."""
