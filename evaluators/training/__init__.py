"""Training a network: data, loss, epochs, teacher."""
