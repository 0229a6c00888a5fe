"""Layer-wise comparison of one model in two formats: where they part, and which layers do the damage."""
