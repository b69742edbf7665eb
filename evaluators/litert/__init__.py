"""TensorFlow Lite files for microcontrollers and their NPUs, written from our int8 ONNX files, and what runs them."""
