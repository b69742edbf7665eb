"""Work on one network without a search: compression, sensitivity, and the sizes of families."""
