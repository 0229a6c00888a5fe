"""Trained weights -> artefacts and evidence -> one new version in the repository."""

import os

# Two threads that wait for each other by spinning take ten times as long as one on busy cores; libgomp reads this once.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
