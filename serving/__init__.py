"""Runs engines on this machine: the embedded Triton, Envoy in front of it, and the supervisor of both."""
