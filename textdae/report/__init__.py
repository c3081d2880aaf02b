"""What a run leaves for people to look at: pictures, samples and a model card."""
