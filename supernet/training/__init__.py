"""Training: the loop under Lightning, strategies, teachers, several devices."""
