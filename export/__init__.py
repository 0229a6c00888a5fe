"""From trained weights to artefacts, evidence and one new version in the repository."""
