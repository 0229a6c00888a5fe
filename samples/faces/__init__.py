"""Faces: MTCNN's three networks with the weights of the facenet-pytorch wheel, networks that describe a face, and
photographs with 0 to 40 faces of which the boxes are known.

``networks`` and ``embedder`` are factories of config/models/faces.yaml, ``plan`` makes weights and images.
"""
