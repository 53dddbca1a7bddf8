"""Checks that training on a device is correct, for ``mnist doctor --prove``.

Each module lists claims with their checks; :func:`mnist_cli.proving.claims.prove` makes the rows.
"""
