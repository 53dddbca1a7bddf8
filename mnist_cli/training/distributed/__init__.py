"""Training by several processes, the ranks: each trains on its part of every batch.

A process that trains alone imports ``rank_environment`` only.
"""
