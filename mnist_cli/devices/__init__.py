"""Devices, their memory and their precisions."""
