"""What is read: `customers` for the staff's list and pages, `threads` for both sides."""
