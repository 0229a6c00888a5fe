"""The ``openvino`` backend of the embedded Triton."""
