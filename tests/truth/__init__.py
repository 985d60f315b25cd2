"""The truth: our WebAssembly build answers as the native engine of the same version does, and both as SQL says.

`python -m tests.truth --statements 200000 --seed 1` compares generated SQL for long, `python -m tests.truth corpus` the
crate's own tests; `test_truth.py` has the short form of each.
"""
