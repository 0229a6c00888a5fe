"""Experiments: who sees which version, what came of it, and whether the new one is promoted, held or aborted."""
