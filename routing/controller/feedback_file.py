"""`slipway route feedback FILE`: to the controller that runs, over its loopback port."""
