"""A bucket of an S3 service as a store. Only `address` is imported without the extra s3."""
