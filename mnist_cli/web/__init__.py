"""The page of ``mnist draw`` and its server. Knows no torch, no network and no terminal."""
