"""Latency of whole networks on computers: what a runtime fuses, what each of it took, and what others will take."""
