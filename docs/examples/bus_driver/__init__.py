"""A bus of our own in two files: the server `relay`, and the driver `relaying` for it."""
