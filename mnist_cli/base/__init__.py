"""Files, processes, packages, cores and seeds, for every other package. Imports no torch."""
