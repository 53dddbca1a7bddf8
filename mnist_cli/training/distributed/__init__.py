"""One run by several processes, the ranks: each trains on its part of every batch.

``place`` reads from the environment which rank this process is, ``group`` lets ranks work
together, ``norm`` is batch norm over all of them, ``launch`` starts them through torch's own
launcher, ``failures`` tells what became of them. Nothing here is imported where one process
trains alone.
"""
