"""Locust files, each run by path in a process of its own."""
