"""What staff do: log in, link media to work records, quote from them, share them, trash them."""
