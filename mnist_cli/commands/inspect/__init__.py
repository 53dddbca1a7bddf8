"""The parts of ``mnist inspect-grad``: the network and batch to inspect, and the answers."""
