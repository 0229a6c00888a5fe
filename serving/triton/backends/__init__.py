"""Python-based backends for the embedded Triton, named as its native C++ ones so that a standard repository is served
unchanged. These modules run inside Triton's stub processes: numpy 1.26, the standard library, and one runtime each.
"""
