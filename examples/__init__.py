"""Programs that show what aiostoolap is for; run one as `python -m examples.flights`."""
