"""Export formats: one file each behind the interface of ``base``; ``registry`` knows them by name."""
