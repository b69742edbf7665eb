"""Work on one network without a search: compression, sensitivity, sizes of families."""
