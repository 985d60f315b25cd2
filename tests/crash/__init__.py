"""A process that is killed at random moments, and what its database holds afterwards: `python -m tests.crash`."""
