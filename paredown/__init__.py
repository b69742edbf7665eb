"""AutoML search for small, fast neural networks: architecture and compression in one joint space."""
