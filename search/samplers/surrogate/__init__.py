"""A statistical model of a study's past, and what it expects of networks that were not tried."""
