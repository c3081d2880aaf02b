"""`textdae denoise`: give back what the masks of a text hide, or the clean picture behind a noisy one."""
