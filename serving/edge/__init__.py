"""The edge: a real Envoy in front of the engine, configured by files that this package writes."""
