"""One module per symptom. A rule judges a recording and knows nothing of where it came from."""
