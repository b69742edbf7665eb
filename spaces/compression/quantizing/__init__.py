"""The parts of the step `quantization`."""
