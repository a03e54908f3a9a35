"""Latency and energy: timed on the file that is handed over, fitted, or read from a table."""
