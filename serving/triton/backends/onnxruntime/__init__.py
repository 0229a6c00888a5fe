"""The ``onnxruntime`` backend of the embedded Triton."""
