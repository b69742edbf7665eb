"""From operators of an int8 ONNX file to operators of TensorFlow Lite."""
