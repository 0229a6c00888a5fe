"""The ground floor of Slipway: the words every room shares. It imports no room and nothing heavy."""

__version__ = "0.1.0"
