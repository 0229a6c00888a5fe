"""The evidence of a version as a page for people: what evidence.json says, with pictures, in one file."""
