"""From the study file that a user writes to the checked objects of a search."""
