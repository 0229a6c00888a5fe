"""Vectors of handwritten digits: a small embedding network, trained here so that digits of one kind lie close together.

``files`` writes held-out scans with their truth, ``plan.train`` trains, ``network.build`` is the factory of
config/models/vectors.yaml.
"""
