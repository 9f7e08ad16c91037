"""Tell what a file is from its first bytes. Nothing here decodes."""
