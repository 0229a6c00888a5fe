"""How fast exports run on this machine: measured in turns, because a shared machine is never the same twice."""
