"""From a source of text to blocks of tokens."""
