"""Between the networks of text recognition: from a map of text to boxes, crops, characters and their reading order."""
