"""Human review: where doubtful tickets wait, and what people answered."""
