"""What a denoising autoencoder is, each point one command and one picture."""
