"""From files to pages and terminal; no rule is run here."""
