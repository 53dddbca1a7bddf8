"""One run by several processes, the ranks: each trains on its part of every batch.

``rank_environment`` reads which rank this process is, ``group`` connects the ranks, ``interfaces``
chooses their network, ``norm`` is batch norm over all of them, ``launch`` starts them on this
machine and ``failures`` reports their errors to it. A process that trains alone imports
``rank_environment`` only.
"""
