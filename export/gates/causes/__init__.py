"""Why an export fails: one file per family of mistakes; ``export.gates.diagnose`` tries them in turn."""
