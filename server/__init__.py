"""`corkage serve`: Corkage as a server of its own."""
