"""The ground floor of Slipway: the words every room shares. It imports no room and nothing heavy."""

import os

__version__ = "0.1.0"

# onnxruntime 1.31 keeps a device id and an event store in the user's home, and holds the address of a collector, unless
# it is told not to before it is imported. Every room and every server process comes through here first.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
