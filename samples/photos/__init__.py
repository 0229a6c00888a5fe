"""Real photographs of odd kinds, benchmark JPEGs, and networks with random weights to answer them."""
