"""What a run writes for people: pictures, samples and a model card."""
