"""Scenes with handwritten digits on photographs, and a small detector that is trained on them here, on the CPU.

``files`` writes scenes with their truth, ``plan.train`` trains, ``network.build`` is the factory of
config/models/scenes.yaml.
"""
