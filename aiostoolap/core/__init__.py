"""The core: `protocol` says it, `runtime` runs it, `executor` owns the thread, `loops` wakes who waits."""
