"""A queue driver of your own: a folder of files."""
