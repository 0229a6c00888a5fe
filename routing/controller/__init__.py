"""The loop that turns what was seen into the next step of every rollout, and its process."""
