"""How good a candidate is: metrics, tasks, training."""
