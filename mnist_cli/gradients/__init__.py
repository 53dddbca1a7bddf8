"""The gradients of a network on one batch: recorded, shown, compared and checked.

Knows networks and data; prints nothing and names no option. The mechanics, for any tensor, are
:mod:`mnist_cli.autograd`'s.
"""
