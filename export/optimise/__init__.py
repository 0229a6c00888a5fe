"""Steps that make a trained module smaller before it is exported: structured pruning and distillation, measured."""
