"""Schema versions of our tables; forward only."""
