"""The configuration: its schema, its sources, its messages, and the names that it knows."""
