"""The ``pytorch`` (``pytorch_libtorch``) backend of the embedded Triton."""
