"""The edge: a real Envoy in front of Triton, configured by files that this package writes."""
