"""Which pixels belong to which handwritten digit: a small segmentation network, trained here on real scans that
are laid on real photographs.

``files`` writes held-out pictures with their masks, ``plan.train`` trains, ``network.build`` is the factory of
config/models/strokes.yaml.
"""
