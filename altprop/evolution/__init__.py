"""One run of a search, from a recipe to a champion: what is built, asked, told, kept, and used again."""
