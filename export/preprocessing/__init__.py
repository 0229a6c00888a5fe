"""The contract's preprocessing beside the training's own: the same pictures, their differences and the causes."""
