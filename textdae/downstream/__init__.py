"""What a trained encoder is for: embeddings, and tasks with few labels."""
