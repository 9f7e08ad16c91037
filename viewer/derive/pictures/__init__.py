"""Photos: decode, turn, convert, clean. Runs in the sandboxed child."""
