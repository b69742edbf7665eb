"""The folder of an exported model, whatever its format: verified, described, replaced as a whole."""
