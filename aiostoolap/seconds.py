"""Times that users give, in seconds."""

from __future__ import annotations

__all__: list[str] = []


def is_time(seconds: object) -> bool:
    """Whether it is a number from 0 on, infinite ones included; a text, for one, is none."""
    return isinstance(seconds, int | float) and seconds >= 0
