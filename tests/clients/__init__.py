"""Unmodified public clients hold spoken conversations with the gateway as it is shipped."""
