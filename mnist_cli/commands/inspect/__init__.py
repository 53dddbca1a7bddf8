"""The parts of ``mnist inspect-grad``: one module a question that it answers."""
