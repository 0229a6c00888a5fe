"""TensorRT: typed graphs, profiles, lint, builder in a subprocess, and bundles for machines that have a GPU."""
