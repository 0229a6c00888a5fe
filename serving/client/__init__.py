"""Clients of the edge for people and tests: images in, records out, whichever engine and transport is behind."""

from serving.client.predict import Answer, PredictClient, Prediction
from serving.client.problems import error_from

__all__ = ["Answer", "PredictClient", "Prediction", "error_from"]
