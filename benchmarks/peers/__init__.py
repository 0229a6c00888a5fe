"""What people build instead: a server for the same model, measured in the same run as Slipway."""
