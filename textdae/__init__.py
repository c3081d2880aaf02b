"""Corrupt something, then learn to give back the original."""
