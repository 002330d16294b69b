"""A small project: questions about orders are sorted, and answered."""
