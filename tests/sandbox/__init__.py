"""Hostile names of files: `./dev python -m tests.sandbox`."""
