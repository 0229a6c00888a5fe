"""What an image meets inside a model server: decode, resize, network, result; and thin adapters for the engines."""
