"""Share of test images whose class the exported file names correctly: measured on export, never during a search."""

from paredown.evaluators.metrics.measurement import Metric

METRIC = Metric("test_accuracy", "1", "measured", higher_is_better=True, is_share=True, untrained_tolerance=None)
