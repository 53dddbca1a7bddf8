"""The checkpoint format: reading, writing and judging files of weights."""
