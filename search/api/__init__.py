"""What programs and notebooks use: searches, studies, compression and predictions as Python calls."""
