"""Customers: notes for staff alone, support threads, health."""
