"""The packed file: a whole ONNX model, each tensor in its shortest encoding; read without PyTorch."""
