"""What an architecture is worth and what it costs: scores, calibration, counts, latency."""
