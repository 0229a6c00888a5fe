"""From what was seen to promote, hold or abort, with reasons in plain words."""
