"""The search: words as they are compared, the index of them, and how it is asked."""
