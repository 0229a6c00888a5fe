"""Code that makes the small trained models and the real images of the embedded default."""
