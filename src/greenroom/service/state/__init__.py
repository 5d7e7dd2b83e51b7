"""State that lives in memory only and knows no store."""
