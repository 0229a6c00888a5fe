"""What versions answered, noted in files for whoever compares versions; off the path of the answer. Off by default."""

from handlers.recording.recorder import RECORD_HEADER, VARIABLE, Recorder, wanted

__all__ = ["RECORD_HEADER", "VARIABLE", "Recorder", "wanted"]
