"""One-dimensional signals as a modality of textdae."""
