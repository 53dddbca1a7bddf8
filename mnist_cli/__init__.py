"""Train, evaluate and look inside MNIST networks."""

__version__ = "0.2.0"
