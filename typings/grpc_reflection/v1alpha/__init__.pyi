"""The version that clients speak."""
