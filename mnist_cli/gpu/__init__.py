"""Whether a GPU can be used here, and if not, why not and what to do about it.

:mod:`~mnist_cli.gpu.nvidia` reads what the system knows of the driver, without torch.
:mod:`~mnist_cli.gpu.causes` finds the cause; :mod:`~mnist_cli.gpu.words` describes it and the next
step, by the table in :mod:`~mnist_cli.gpu.advice`; :mod:`~mnist_cli.gpu.obstacle` holds the types.
:mod:`~mnist_cli.gpu.probe` asks torch, and runs a kernel.
"""
