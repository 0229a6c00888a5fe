"""Whether an export is as good as the trained model, decided on the same images: bounds, verdicts, labels needed."""
