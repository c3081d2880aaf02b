"""Uses of a trained encoder: embeddings, probes, and fine-tuning with few labels."""
