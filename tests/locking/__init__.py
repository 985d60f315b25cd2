"""Races of processes for one directory: `./dev python -m tests.locking`."""
