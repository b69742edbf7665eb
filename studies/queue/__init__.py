"""The jobs of the service: who waits, who runs, who takes over."""
