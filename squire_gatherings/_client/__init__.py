"""The client: joins gatherings, and stays in them through lost connections and dispersals."""
