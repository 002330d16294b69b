"""Gateway drivers."""
