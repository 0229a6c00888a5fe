"""Two versions' answers to one image, compared by the task's own measure; the worst are kept with their images."""

from routing.compare.comparison import compare
from routing.compare.found import Found, Thresholds
from routing.compare.worst import Kept, Worst

__all__ = ["Found", "Kept", "Thresholds", "Worst", "compare"]
