"""What people do here: come in, file photos, price from them, share them, put them away."""
