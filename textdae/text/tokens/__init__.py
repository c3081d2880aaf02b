"""Tokenizers, and the words of a text."""
