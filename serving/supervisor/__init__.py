"""The process behind ``slipway serve``: runs Triton and Envoy, keeps them equal to the repository, heals them."""
