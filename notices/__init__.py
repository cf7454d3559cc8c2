"""Changes of access, and how the host is notified of them."""
