"""Text, embeddings and the vector index: what models read."""
