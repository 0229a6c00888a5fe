"""Which digits are in a picture: two or three real scans on a paled photograph, and a small multi-label classifier that
is trained on such pictures here.

``files`` writes held-out pictures with their truth, ``plan.train`` trains, ``network.build`` is the factory of
config/models/groups.yaml.
"""
