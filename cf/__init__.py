"""What a user wants: collaborative filtering and calibrated relevance. Arrays in, arrays out."""
