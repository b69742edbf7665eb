"""Trains a network: data, loss, epochs, teacher."""
