"""What every part may use: files, processes, packages, cores and seeds. Imports no torch."""
