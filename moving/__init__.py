"""Moving in: users and their customers from another integration, and access that another provider gives."""
