"""`Footprint`, what a process has taken of its machine."""

from __future__ import annotations

import gc
import itertools
import re
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

_MAPPING = re.compile(r"^[0-9a-f]+-[0-9a-f]+ (\S+) .*\nSize: +(\d+) kB\n(?:.+\n)*?Rss: +(\d+) kB\n", re.MULTILINE)
_RESERVED = 1 << 30
"""Bytes: wasmtime reserves more behind each linear memory, for it to grow."""


@dataclass
class Footprint:
    """What a process has taken of its machine."""

    descriptors: int
    threads: int
    mappings: int
    addresses: int
    """Bytes."""
    linear: int
    """Bytes in RAM of the engines' linear memories, which never shrink: the most they have had."""
    memory: int
    """All other bytes in RAM."""
    blocks: int
    """What Python has allocated."""

    def __str__(self) -> str:
        addresses, linear, memory = self.addresses / 2**30, self.linear / 2**20, self.memory / 2**20
        return (
            f"{self.descriptors} descriptors, {self.threads} threads, {self.mappings} mappings, "
            f"{addresses:.1f} GiB of addresses, {linear:.0f} MiB of linear memory, {memory:.0f} MiB of other memory, "
            f"{self.blocks} blocks"
        )


def footprint() -> Footprint:
    """That of this process, on Linux; elsewhere only its threads and what Python has allocated."""
    gc.collect()
    threads, blocks = threading.active_count(), sys.getallocatedblocks()
    if sys.platform != "linux":
        return Footprint(0, threads, 0, 0, 0, 0, blocks)
    mappings = [
        (rights, 1024 * int(size), 1024 * int(resident))
        for rights, size, resident in _MAPPING.findall(Path("/proc/self/smaps").read_text())
    ]
    linear = sum(
        resident
        for (_, _, resident), (rights, size, _) in itertools.pairwise(mappings)
        if rights == "---p" and size > _RESERVED
    )
    return Footprint(
        descriptors=len(list(Path("/proc/self/fd").iterdir())) - 1,
        threads=threads,
        mappings=len(mappings),
        addresses=sum(size for _, size, _ in mappings),
        linear=linear,
        memory=sum(resident for _, _, resident in mappings) - linear,
        blocks=blocks,
    )
