"""Weight sharing: one elastic network whose slices are the candidates of a family."""
