"""From the words of an error to the connection that it is about, and what of this node explains it."""
