"""The real binary on a file system in memory that loses power, runs full, fails, and rots."""
