"""A statistical model of a study's history, which predicts untried networks."""
