"""What is not as it should be, for an operator."""
