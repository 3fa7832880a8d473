"""What becomes of a trained run: embeddings of new images, exports, a place on a hub."""
