"""What each coupon changes: a TensorFlow network for incremental effects. Arrays in, arrays out."""
