"""What every modality shares, and what knows none of them."""
