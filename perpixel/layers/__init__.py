"""Blocks that a second network needed unchanged."""
