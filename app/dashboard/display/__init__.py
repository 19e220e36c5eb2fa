"""How values, texts and schemas are shown and edited."""
