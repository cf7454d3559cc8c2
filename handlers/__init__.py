"""HTTP in: one file for each thing that a visitor or Stripe does."""
