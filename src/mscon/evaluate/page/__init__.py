"""Page: what every HTML page needs that mscon writes (report, explorer)."""
