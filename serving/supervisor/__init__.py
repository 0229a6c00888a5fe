"""The process behind ``slipway serve``: runs an engine and Envoy, keeps them equal to the repository, heals them."""
