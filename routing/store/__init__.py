"""What was seen of experiments, in PostgreSQL: exposures, predictions, feedback, comparisons and verdicts."""

from routing.store.store import Store as Store
