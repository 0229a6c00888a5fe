"""Two versions' answers to one image, compared by the task's own measure."""

from routing.compare.comparison import Found, compare

__all__ = ["Found", "compare"]
