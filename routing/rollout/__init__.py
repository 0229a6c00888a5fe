"""The state of a rollout: pure transitions, and what makes repository and servers fit it."""
