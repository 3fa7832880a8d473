"""Databases: the vectors of a table in a vector database or an index of one, and queries for them."""

ENGINES = {
    "lancedb": "LanceDB",
    "qdrant": "Qdrant",
    "pgvector": "PgVector",
    "faiss": "Faiss",
    "usearch": "USearch",
}
"""Engines, which are modules here, each with its class; loaded when used."""
