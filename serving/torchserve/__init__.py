"""TorchServe: archives made from published versions, java started directly, versions registered side by side."""
