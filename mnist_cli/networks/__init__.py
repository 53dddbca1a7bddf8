"""The networks: the registry, ensembles, and networks of the user's own."""
