"""What may be built: families, compression methods and the joint space over them."""
