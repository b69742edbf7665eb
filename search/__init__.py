"""Who looks, and how: samplers, drivers and the command line."""
