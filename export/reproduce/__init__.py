"""What remains of an export: scripts that judge its artefacts again, and the artefacts of one that failed."""
