"""Rollouts on real servers: good versions are promoted by themselves, flawed ones are aborted by themselves."""
