"""No statement can harm the database or the engine: random stops, fuzzed input, loops that never allocate, memory."""
