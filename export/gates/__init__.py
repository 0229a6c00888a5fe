"""Gates: an export is published only when every gate of every format passes; ``registry`` lists them."""
