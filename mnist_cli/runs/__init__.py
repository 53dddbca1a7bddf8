"""Run directories: making, finding, listing and reading them."""
