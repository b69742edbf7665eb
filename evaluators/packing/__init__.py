"""The packed file: a whole ONNX model, with each tensor in its shortest encoding; reading it needs no PyTorch."""
