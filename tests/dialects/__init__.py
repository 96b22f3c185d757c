"""Tests of `dialects/` and of the validation they share with the core."""
