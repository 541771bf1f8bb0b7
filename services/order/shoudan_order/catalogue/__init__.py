"""The catalogue: its rows and their index in memory, and how they are changed."""
