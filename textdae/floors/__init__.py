"""Floors: the scores of the simplest honest rivals on the same questions, printed beside the model's."""
