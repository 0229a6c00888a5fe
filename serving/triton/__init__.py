"""The embedded Triton: found in its own environment, assembled, started, and spoken to over gRPC."""
