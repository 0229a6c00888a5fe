"""Handwritten digits: a small network trained here, on the CPU, from the real images inside scikit-learn.

``images`` writes files, ``variants.train`` trains, ``network.build`` is the factory of config/models/digits.yaml.
"""
