"""Builds, runs, checks and times plans. Standard library and numpy alone: a bundle carries a copy of this folder."""
