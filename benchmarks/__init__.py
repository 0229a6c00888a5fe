"""Load, ceilings and failures: how fast what is served is, and what clients see when servers die."""
