"""Task metrics of a model on labelled images, in the form that a paired bootstrap over those images needs."""
