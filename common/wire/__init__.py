"""Records and messages as bytes: what crosses a connection or lies on a disk."""
