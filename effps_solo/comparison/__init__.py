"""Methods trained alike, measured alike, and told apart where the difference exceeds chance."""
