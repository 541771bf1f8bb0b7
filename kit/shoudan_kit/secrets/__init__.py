"""Secrets and personal data: where they come from, and how they are sealed at rest."""
