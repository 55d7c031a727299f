"""Training, fine-tuning and evaluation of models."""
