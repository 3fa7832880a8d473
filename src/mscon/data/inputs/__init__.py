"""What is encoded of each row: images, vectors, columns, texts, and the views of them."""
