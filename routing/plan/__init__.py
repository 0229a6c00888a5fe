"""What a person declares about the traffic of a model: read, checked, compared."""
