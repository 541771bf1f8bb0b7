"""Building blocks every service stands on; no word of the domain lives here."""
