"""Proofs that training on a device can be trusted, for ``mnist doctor --prove``.

Each proof checks one claim on the device and yields rows with a verdict and a figure. Nothing
here prints: :mod:`mnist_cli.report.proof` shows the rows as they arrive.
"""
