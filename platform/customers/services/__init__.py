"""What changes: `notes` for staff alone, `threads` for both sides, `mailing` for the letters that follow."""
