"""Whether a GPU can be used here, and if not, why not and what to do about it."""
