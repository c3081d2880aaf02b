"""The modality of text."""
